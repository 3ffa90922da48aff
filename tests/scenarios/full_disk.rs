//! ClickHouse's disk is full for a time: nothing is lost, nothing is called
//! poison, and what is stored already is served.

use std::time::Duration;

use harness::{Stack, eventually, servers::wait_for};

use crate::load::{self, Load};

/// More than any disk has, in bytes.
const ALL_OF_IT: &str = "1152921504606846976";
/// How long it may take until the store's refusal is said.
const SAID: Duration = Duration::from_secs(30);

/// Has ClickHouse leave so much of its disk free, in bytes.
fn keeps_free(stack: &mut Stack, bytes: &str) {
    tokio::task::block_in_place(|| {
        stack.clickhouse.restart_with("--keep-free", bytes);
        wait_for(&mut stack.clickhouse);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_holds_up_loading_and_nothing_else() {
    let mut stack = Stack::with(900, 20).start().await;
    let mut load = Load::after_first_sync(&stack).await;
    let newest = "SELECT max(_updated_at) FROM hubspot.contacts";
    load.through(&mut stack, "full disk", async |stack: &mut Stack| {
        keeps_free(stack, ALL_OF_IT);
        let (api, sql) = (stack.api(), stack.sql());
        // The store is asked again and again, and says why it takes nothing.
        eventually("the full disk is said", SAID, async || {
            let answer = api.try_send("GET", "/health/ready", None).await.ok()?;
            answer.body.to_string().contains("space").then_some(())
        })
        .await;
        let stored = sql.query(newest).await;
        api.get("/v1/connections/default/records/contacts?limit=5")
            .await;
        assert_eq!(sql.query(newest).await, stored, "nothing is added");
        keeps_free(stack, "0");
    })
    .await;
    load::nothing_is_doubled(&stack).await;
    let letters = stack.api().get("/v1/dead-letters").await;
    assert_eq!(letters["results"], serde_json::json!([]));
}
