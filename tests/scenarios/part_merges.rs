//! The many parts that a backfill leaves are merged once it is over.

use harness::{HANG_LIMIT, Stack, eventually};
use serde_json::json;

/// How many parts may stay.
const FEW: i64 = 4;

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_table_is_merged_into_few_parts() {
    let stack = Stack::with(900, 5)
        // Many small inserts, each of which makes a part.
        .data_streams("BATCH_ROWS", "30")
        .start()
        .await;
    stack.first_sync(json!({"streams": ["companies"]})).await;
    stack.matches_truth("companies").await;
    // Otherwise the engine would merge parts as small as these by itself.
    stack
        .sql()
        .query("ALTER TABLE hubspot_raw.changes MODIFY SETTING merge_selector_base = 10000")
        .await;
    stack
        .first_sync(json!({"streams": ["companies", "contacts"]}))
        .await;
    stack.matches_truth("contacts").await;
    let parts = "SELECT count() FROM system.parts WHERE active AND database = 'hubspot_raw' \
                 AND table = 'changes'";
    eventually("few parts are left", HANG_LIMIT, async || {
        (stack.sql().number(parts).await <= FEW).then_some(())
    })
    .await;
    stack.matches_truth("contacts").await;
}
