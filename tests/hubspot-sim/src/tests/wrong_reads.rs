//! Objects that lists, searches or batch reads do not show although they exist.

use super::*;

const SEARCH: &str = "/crm/objects/2026-09/contacts/search";
const BATCH: &str = "/crm/objects/2026-09/contacts/batch/read";
const LIST: &str = "/crm/objects/2026-09/contacts?limit=100";

#[tokio::test]
async fn a_token_sees_a_tenth_of_the_objects() {
    let simulator = simulator(100, |config| {
        config.portals[0].archived_percent = 0.0;
        config.portals[0].tokens.push("other".to_owned());
    })
    .await;
    let client = Client::of(&simulator);
    let ids = simulator.portal().ids("contacts");
    let truth = simulator.truth("contacts").unwrap();
    let view = json!({"token": "demo-token", "object_type": "contacts", "times": "always",
                      "fault": {"fault": "partial_view", "percent": 10, "seed": 3}});
    fault(&client, view).await;
    let seen = ids_of(&client.get(LIST).await.1);
    assert!((1..30).contains(&seen.len()), "{seen:?}");
    let (_, page) = client.post(SEARCH, json!({"limit": 200})).await;
    let mut found = ids_of(&page);
    found.sort_unstable();
    assert_eq!((&found, &page["total"]), (&seen, &json!(seen.len())));
    let (status, page) = client.post(BATCH, inputs(&ids)).await;
    assert_eq!((status, ids_of(&page).len()), (207, seen.len()));
    let missing = page["errors"][0]["context"]["ids"].as_array().unwrap();
    assert_eq!(missing.len(), ids.len() - seen.len());
    for id in ids {
        let path = format!("/crm/objects/2026-09/contacts/{id}");
        let status = if seen.contains(&id) { 200 } else { 404 };
        assert_eq!(client.get(&path).await.0, status);
    }
    let other = client.http.get(format!("{}{LIST}", client.base));
    let answer = read(other.bearer_auth("other").send().await.unwrap()).await;
    assert_eq!(ids_of(&answer.1).len(), 100);
    let after = simulator.truth("contacts").unwrap();
    assert_eq!((after.count, after.digest), (truth.count, truth.digest));
}

#[tokio::test]
async fn a_batch_read_misses_given_ids_once() {
    let simulator = simulator(20, |config| config.portals[0].archived_percent = 0.0).await;
    let client = Client::of(&simulator);
    let ids = simulator.portal().ids("contacts");
    let rule = json!({"object_type": "contacts",
                      "fault": {"fault": "missed_ids", "ids": [ids[1], ids[3]]}});
    fault(&client, rule).await;
    let (status, page) = client.post(BATCH, inputs(&ids[..3])).await;
    assert_eq!((status, ids_of(&page)), (207, vec![ids[2], ids[0]]));
    let error = &page["errors"][0];
    assert_eq!(error["category"], "OBJECT_NOT_FOUND");
    assert_eq!(error["context"]["ids"], json!([ids[1].to_string()]));
    // The other id has not been asked for yet.
    assert_eq!(client.post(BATCH, inputs(&ids[..3])).await.0, 200);
    assert_eq!(client.post(BATCH, inputs(&ids[3..])).await.0, 207);
    assert_eq!(client.post(BATCH, inputs(&ids)).await.0, 200);
    assert!(simulator.faults().waiting().is_empty());
}

#[tokio::test]
async fn a_batch_read_misses_ids_by_chance() {
    let simulator = simulator(100, |config| config.portals[0].archived_percent = 0.0).await;
    let client = Client::of(&simulator);
    let ids = simulator.portal().ids("contacts");
    let found = async || ids_of(&client.post(BATCH, inputs(&ids)).await.1);
    let rule = json!({"times": "always",
                      "fault": {"fault": "random_misses", "percent": 20, "seed": 5}});
    fault(&client, rule.clone()).await;
    let first = found().await;
    assert!((60..95).contains(&first.len()), "{}", first.len());
    assert_ne!(found().await, first);
    simulator.faults().clear();
    fault(&client, rule).await;
    assert_eq!(found().await, first);
}
