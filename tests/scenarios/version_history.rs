//! Which versions of an object `changes` keeps.

use harness::{HANG_LIMIT, Stack, eventually};
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
        updated_at: 1_700_000_000_000,
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
    eventually("the last version is stored", HANG_LIMIT, async || {
        (stack.sql().number(&sql).await == 1).then_some(())
    })
    .await;
    let titles = format!(
        "SELECT arrayStringConcat(groupArray(JSONExtractString(properties, 'jobtitle'))) FROM \
         (SELECT properties FROM hubspot_raw.changes FINAL WHERE object_id = {ID} \
         ORDER BY fetch_sequence)"
    );
    assert_eq!(stack.sql().query(&titles).await.trim(), "ABAC");
    let path = format!("/v1/connections/default/records/contacts/{ID}");
    let shown = stack.api().get(&path).await;
    assert_eq!(shown["properties"]["jobtitle"], "C", "{shown}");
}
