//! Which versions of an object `changes` keeps.

use harness::Stack;
use schemas::{CrmRecord, PropertyMapBuilder, crm_record::SCHEMA};
use serde_json::json;

/// An object that HubSpot does not have.
const ID: i64 = 9_000_000;

/// Its versions have later fetch sequences than this.
const FIRST: i64 = 4_000_000_000_000;

/// A version of it; key and value.
fn version(stack: &Stack, schema_id: u32, sequence: i64, title: &str) -> (String, Option<Vec<u8>>) {
    let mut properties = PropertyMapBuilder::default();
    properties.push("jobtitle", title);
    let properties = properties.finish();
    let portal_id = stack.simulator.portal().id().cast_signed();
    let record = CrmRecord {
        updated_at: 1_700_000_000_000 + 1_000 * (sequence - FIRST),
        connection: "default",
        run_id: "written-by-a-test",
        fetch_sequence: sequence,
        ..CrmRecord::new(portal_id, "contacts", ID, &properties)
    };
    (record.key(), Some(record.encode(schema_id)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_is_one_version_and_a_return_to_former_content_is_a_further_one() {
    let stack = Stack::with(20, 5).start().await;
    stack.first_sync(json!({})).await;
    stack.matches_truth("contacts").await;
    let topic = stack.topic("records");
    let servers = stack.servers();
    let id = servers.register(&format!("{topic}-value"), SCHEMA).await;
    let messages = [(1, "A"), (2, "B"), (2, "B"), (3, "A"), (3, "A"), (4, "C")];
    let messages = messages.map(|(at, title)| version(&stack, id, FIRST + at, title));
    servers.produce(&topic, messages.to_vec()).await;

    let sql = format!(
        "SELECT count() FROM hubspot_raw.changes FINAL WHERE object_id = {ID} AND \
         fetch_sequence = {}",
        FIRST + 4
    );
    stack.sql().until(&sql, 1).await;
    let titles = format!(
        "SELECT arrayStringConcat(groupArray(JSONExtractString(properties, 'jobtitle'))) FROM \
         (SELECT properties FROM hubspot_raw.changes FINAL WHERE object_id = {ID} \
         ORDER BY fetch_sequence)"
    );
    assert_eq!(stack.sql().query(&titles).await.trim(), "ABAC");
    let validity = format!(
        "SELECT arrayStringConcat(groupArray(concat(jobtitle, toString(toUnixTimestamp(_valid_from) \
         % 10), '-', ifNull(toString(toUnixTimestamp(_valid_to) % 10), ''))), ' ') FROM (SELECT * \
         FROM hubspot.contacts_history WHERE _object_id = {ID} ORDER BY _valid_from)"
    );
    let validity = stack.sql().query(&validity).await;
    assert_eq!(validity.trim(), "A1-2 B2-3 A3-4 C4-");
    // 1,700,000,000 is 22:13:20.
    for (at, expected) in [
        ("20", ""),
        ("21", "A"),
        ("22.999", "B"),
        ("23", "A"),
        ("59", "C"),
    ] {
        let sql = format!(
            "SELECT jobtitle FROM hubspot.contacts_at(at = '2023-11-14 22:13:{at}') WHERE \
             _object_id = {ID}"
        );
        assert_eq!(stack.sql().query(&sql).await.trim(), expected, "{at}");
    }
    let path = format!("/v1/connections/default/records/contacts/{ID}");
    let shown = stack.api().get(&path).await;
    assert_eq!(shown["properties"]["jobtitle"], "C", "{shown}");
    let history = stack.api().get(&format!("{path}/history")).await;
    let versions = history["results"].as_array().unwrap();
    let changes: Vec<_> = versions.iter().map(|it| &it["changed"]).collect();
    let change = |from: Option<&str>, to| json!({"jobtitle": {"from": from, "to": to}});
    let expected = [
        change(Some("A"), "C"),
        change(Some("B"), "A"),
        change(Some("A"), "B"),
        change(None, "A"),
    ];
    assert_eq!(changes, expected.iter().collect::<Vec<_>>(), "{history}");
    let newest = &versions[0];
    assert_eq!(newest["run_id"], "written-by-a-test");
    assert_eq!(newest["topic"], topic);
    let place = |it: &serde_json::Value| (it["partition"].as_i64(), it["offset"].as_i64());
    let (partition, offset) = place(newest);
    // It comes after its repeated versions, in the same partition.
    assert_eq!(partition, place(&versions[3]).0);
    assert!(offset > place(&versions[1]).1, "{history}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_objects_as_of_now_are_the_current_ones_in_every_column() {
    let stack = Stack::with(200, 40).start().await;
    stack.first_sync(json!({})).await;
    let portal = stack.simulator.portal();
    let ids = portal.ids("contacts");
    let change = portal.update("contacts", ids[0], &[("city", "Oslo")]);
    change.unwrap();
    stack.sync().await;
    stack.matches_truth("contacts").await;
    for object_type in ["contacts", "companies"] {
        // `_extra` is in the views of current objects only.
        let columns = format!(
            "SELECT arrayStringConcat(groupArray(concat('`', name, '`')), ', ') FROM system.columns \
             WHERE database = 'hubspot' AND table = '{object_type}' AND name != '_extra'"
        );
        let columns = stack.sql().query(&columns).await;
        let columns = columns.trim();
        let at = format!("hubspot.{object_type}_at(at = '2200-01-01 00:00:00')");
        let current = format!("hubspot.{object_type}");
        let rows = format!("SELECT count() FROM {current}");
        assert!(stack.sql().number(&rows).await > 0);
        for (some, others) in [(&at, &current), (&current, &at)] {
            let sql = format!(
                "SELECT count() FROM (SELECT {columns} FROM {some} EXCEPT SELECT {columns} FROM \
                 {others})"
            );
            let different = stack.sql().number(&sql).await;
            assert_eq!(different, 0, "{object_type}: in {some}, not in {others}");
        }
    }
}
