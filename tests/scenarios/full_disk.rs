//! ClickHouse's disk is full for a time: nothing is lost, nothing is called
//! poison, and what is stored already is served.

use std::{
    fs::File,
    io::{ErrorKind, Write as _},
    path::PathBuf,
    time::Duration,
};

use harness::{Stack, eventually};

use crate::changing_records::{self, ChangingRecords};

/// Room for the first sync, and for what ClickHouse keeps free.
const SIZE: u64 = 96 << 20;
/// How long it may take until the store's refusal is said.
const SAID: Duration = Duration::from_secs(30);

/// A file on ClickHouse's disk, which is mounted for its process alone.
fn filler(stack: &Stack) -> PathBuf {
    let root = PathBuf::from(format!("/proc/{}/root", stack.clickhouse.process.pid()));
    let store = stack.folder().join("clickhouse/store/filler");
    root.join(store.strip_prefix("/").expect("an absolute path"))
}

/// Leaves room for nothing at all.
fn fill(stack: &Stack) {
    let mut file = File::create(filler(stack)).expect("a file");
    // The last bytes take a smaller piece than those before.
    for size in [1 << 16, 1 << 12, 1] {
        let piece = vec![0; size];
        let full = loop {
            if let Err(error) = file.write(&piece) {
                break error;
            }
        };
        assert_eq!(full.kind(), ErrorKind::StorageFull, "{full}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn loading_waits_while_clickhouses_disk_is_full_and_reads_still_work() {
    let stack = Stack::with(900, 20).small_disk(SIZE).start().await;
    let mut records = ChangingRecords::after_first_sync(&stack).await;
    let newest = "SELECT max(_updated_at) FROM hubspot.contacts";
    fill(&stack);
    records.change(&stack, "full disk").await;
    changing_records::request_run(&stack, "contacts").await;
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
    std::fs::remove_file(filler(&stack)).expect("it is there");
    records.change(&stack, "room again").await;
    changing_records::complete_a_run(&stack).await;
    stack.matches_truth("contacts").await;
    changing_records::assert_no_duplicates(&stack).await;
    let letters = stack.api().get("/v1/dead-letters").await;
    assert_eq!(letters["results"], serde_json::json!([]));
}
