//! What a backfill leaves behind in many parts is merged once it is over.

use std::time::Duration;

use harness::{Stack, eventually};
use serde_json::json;

/// A table is looked at every 5 s, and left alone for 5 s after a large insert.
const SOON: Duration = Duration::from_secs(30);

/// What reads may have to merge for good.
const FEW: i64 = 4;

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_table_is_merged_into_few_parts() {
    let stack = Stack::with(900, 5)
        // Many small inserts: a part each.
        .data_streams("BATCH_ROWS", "30")
        .start()
        .await;
    stack.first_sync(json!({"streams": ["companies"]})).await;
    stack.matches_truth("companies").await;
    // The engine would merge parts as small as these by itself.
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
    eventually("few parts are left", SOON, async || {
        (stack.sql().number(parts).await <= FEW).then_some(())
    })
    .await;
    stack.matches_truth("contacts").await;
}
