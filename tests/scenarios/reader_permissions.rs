//! What the user `reader` may read in ClickHouse.

use harness::{HANG_LIMIT, Stack, eventually};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn the_reader_reads_every_destination_but_not_its_storage() {
    let mut stack = Stack::with(50, 1).start().await;
    let api = stack.api();
    let settings = json!({"streams": ["contacts"], "destination": "hubspot_eu"});
    stack.first_sync(settings).await;
    let sql = stack.sql();
    let stored = async |database: &str| {
        let count = format!("SELECT count() FROM {database}.contacts_all");
        let (sql, count) = (&sql, &count);
        eventually("contacts are stored", HANG_LIMIT, async || {
            let found = sql.try_query(count).await.ok()?;
            (found.trim() == "50").then_some(())
        })
        .await;
    };
    stored("hubspot_eu").await;
    // A second destination, with a name that no configuration file has.
    let gone = "/v1/connections/default";
    eventually("the connection is deleted", HANG_LIMIT, async || {
        let status = api.send("DELETE", gone, None).await.status;
        (status == 200 || status == 404).then_some(())
    })
    .await;
    let settings = json!({"streams": ["contacts"], "destination": "crm"});
    stack.first_sync(settings).await;
    stored("crm").await;

    // The native server reads its users at its start only.
    stack.clickhouse.restart();
    let reader = stack.sql_as_reader();
    for database in ["hubspot_eu", "crm"] {
        let read = format!("SELECT count() FROM {database}.contacts_all");
        eventually("the reader can read", HANG_LIMIT, async || {
            (reader.try_query(&read).await.ok()?.trim() == "50").then_some(())
        })
        .await;
        for table in ["contacts", "changes"] {
            let storage = format!("SELECT count() FROM {database}_raw.{table}");
            let refused = reader.try_query(&storage).await.unwrap_err();
            assert!(refused.contains("ACCESS_DENIED"), "{storage}: {refused}");
        }
    }
    for own in [
        "_hubspot_streams.warehouse",
        "_hubspot_streams.destinations",
    ] {
        let refused = reader.try_query(&format!("SELECT * FROM {own}")).await;
        assert!(refused.unwrap_err().contains("ACCESS_DENIED"), "{own}");
    }
}
