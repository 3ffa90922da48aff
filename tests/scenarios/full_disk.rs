//! ClickHouse's disk is full for a time: nothing is lost, nothing is called
//! poison, and what is stored already is served.

use std::time::Duration;

use harness::{Stack, eventually};

use crate::load::{self, Load};

/// More than any disk has.
const ALL_OF_IT: u64 = 1 << 60;
/// How long ClickHouse may take to read its settings again.
const READ_AGAIN: Duration = Duration::from_secs(30);

async fn keeps_free(stack: &Stack, bytes: u64) {
    stack.clickhouse.keep_free(bytes);
    let sql = stack.sql();
    eventually("its settings are read", READ_AGAIN, async || {
        let kept = "SELECT keep_free_space FROM system.disks WHERE name = 'default'";
        (sql.try_query(kept).await.ok()?.trim().parse() == Ok(bytes)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_holds_up_loading_and_nothing_else() {
    let mut stack = Stack::with(900, 20).start().await;
    let mut load = Load::after_first_sync(&stack).await;
    let version = "SELECT max(_version) FROM hubspot.contacts";
    load.through(&mut stack, "full disk", async |stack: &mut Stack| {
        keeps_free(stack, ALL_OF_IT).await;
        let api = stack.api();
        // The store is asked again and again, and says why it takes nothing.
        eventually("it is said", READ_AGAIN, async || {
            let answer = api.send("GET", "/health/ready", None).await;
            answer.body.to_string().contains("space").then_some(())
        })
        .await;
        let stored = stack.sql().query(version).await;
        let page = "/v1/connections/default/records/contacts?limit=5";
        assert_eq!(api.send("GET", page, None).await.status, 200);
        assert_eq!(stack.sql().query(version).await, stored, "nothing is added");
        keeps_free(stack, 0).await;
    })
    .await;
    load::nothing_is_doubled(&stack).await;
    let letters = stack.api().get("/v1/dead-letters").await;
    assert_eq!(letters["results"], serde_json::json!([]));
}
