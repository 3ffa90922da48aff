//! Lists that end early, repeat a page or lack `paging`.

use super::*;

/// The ids of all pages, by following `after`.
async fn walk(client: &Client, archived: bool, after: &str) -> Vec<u64> {
    let (mut found, mut after) = (Vec::new(), after.to_owned());
    loop {
        let path = format!("/crm/objects/2026-09/contacts?limit=10&archived={archived}{after}");
        let (status, page) = client.get(&path).await;
        assert_eq!(status, 200, "{page}");
        found.extend(ids_of(&page));
        match page["paging"]["next"]["after"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return found,
        }
    }
}

#[tokio::test]
async fn a_list_ends_early_once() {
    let simulator = simulator(50, |_| {}).await;
    let client = Client::of(&simulator);
    let (ids, truth) = (
        simulator.portal().ids("contacts"),
        simulator.truth("contacts").unwrap(),
    );
    let rule = json!({"kind": "list", "object_type": "contacts", "skip": 2,
                      "fault": {"fault": "no_paging"}});
    fault(&client, rule).await;
    assert_eq!(walk(&client, false, "").await, ids[..30]);
    assert_eq!(walk(&client, false, "").await, ids);
    let after = simulator.truth("contacts").unwrap();
    assert_eq!((after.count, after.digest), (truth.count, truth.digest));
}

#[tokio::test]
async fn a_list_always_ends_early() {
    for cursor in [CursorMode::Id, CursorMode::Opaque, CursorMode::Offset] {
        let simulator = simulator(50, |config| {
            config.portals[0].quirks.cursor = cursor;
            config.faults.push(
                Rule::next(Kind::List, Fault::ListEnds { after_rows: 25 })
                    .of("contacts")
                    .always(),
            );
        })
        .await;
        let client = Client::of(&simulator);
        let ids = simulator.portal().ids("contacts");
        assert_eq!(walk(&client, false, "").await, ids[..25]);
        assert_eq!(walk(&client, false, "").await, ids[..25]);
        simulator.faults().clear();
        assert_eq!(walk(&client, false, "").await, ids);
    }
}

#[tokio::test]
async fn a_list_is_empty() {
    let simulator = simulator(50, |config| config.portals[0].archived_percent = 50.0).await;
    let client = Client::of(&simulator);
    let rule = json!({"kind": "list_archived", "fault": {"fault": "list_ends"}});
    fault(&client, rule).await;
    assert!(walk(&client, true, "").await.is_empty());
    let archived = simulator.portal().archived_ids("contacts");
    assert_eq!(walk(&client, true, "").await, archived);
    assert!(!archived.is_empty());
}

#[tokio::test]
async fn a_page_comes_twice() {
    let simulator = simulator(50, |_| {}).await;
    let client = Client::of(&simulator);
    let ids = simulator.portal().ids("contacts");
    let rule = json!({"fault": {"fault": "repeat_page", "holding": ids[15]}});
    fault(&client, rule).await;
    let expected = [&ids[..20], &ids[10..]].concat();
    assert_eq!(walk(&client, false, "").await, expected);
    fault(&client, json!({"fault": {"fault": "repeat_page"}})).await;
    let expected = [&ids[..10], &ids].concat();
    assert_eq!(walk(&client, false, "").await, expected);
}

#[tokio::test]
async fn a_page_in_the_middle_of_a_lane_has_no_paging() {
    let simulator = simulator(50, |_| {}).await;
    let client = Client::of(&simulator);
    let ids = simulator.portal().ids("contacts");
    let rule = json!({"times": "always", "fault": {"fault": "no_paging", "holding": ids[32]}});
    fault(&client, rule).await;
    let lane = |index: usize| format!("&after={}", ids[index]);
    assert_eq!(walk(&client, false, &lane(20)).await, ids[20..40]);
    assert_eq!(walk(&client, false, &lane(40)).await, ids[40..]);
}
