//! What the user `reader` may read in ClickHouse.

use harness::Stack;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn the_reader_reads_every_destination_but_not_its_storage() {
    let mut stack = Stack::with(50, 1).start().await;
    let api = stack.api();
    let settings = json!({"streams": ["contacts"], "destination": "hubspot_eu"});
    stack.first_sync(settings).await;
    let sql = stack.sql();
    let until_stored = async |database: &str| {
        let count = format!("SELECT count() FROM {database}.contacts_all");
        sql.until(&count, 50).await;
    };
    until_stored("hubspot_eu").await;
    // A second destination, with a name that no configuration file has.
    api.delete("/v1/connections/default").await;
    let settings = json!({"streams": ["contacts"], "destination": "crm"});
    stack.first_sync(settings).await;
    until_stored("crm").await;

    // The native server reads its users at its start only.
    stack.clickhouse.restart();
    let reader = stack.sql_as_reader();
    for database in ["hubspot_eu", "crm"] {
        let read = format!("SELECT count() FROM {database}.contacts_all");
        reader.until(&read, 50).await;
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
