//! ClickHouse's disk is full for a time: nothing is lost, nothing becomes a dead
//! letter, and stored records can still be read.

use std::{
    fs::File,
    io::{ErrorKind, Write as _},
    path::PathBuf,
};

use harness::{HANG_LIMIT, Stack, eventually};

use crate::changing_records::{self, ChangingRecords};

/// Enough for the first sync and for what ClickHouse keeps free, in bytes.
const SIZE: u64 = 96 << 20;

/// A file on ClickHouse's disk, which is mounted for its process alone.
fn filler(stack: &Stack) -> PathBuf {
    let root = PathBuf::from(format!("/proc/{}/root", stack.clickhouse.process.pid()));
    let store = stack.folder().join("clickhouse/store/filler");
    root.join(store.strip_prefix("/").expect("an absolute path"))
}

/// Fills the disk to the last byte.
fn fill(stack: &Stack) {
    let mut options = File::options();
    let file = options.create(true).append(true).open(filler(stack));
    let mut file = file.expect("a file");
    // Smaller and smaller pieces, as a piece must fit whole.
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
    // Inserts are repeated, and readiness names the reason of their failure. A
    // merge may free space meanwhile, so the disk is filled again.
    eventually("the full disk is reported", HANG_LIMIT, async || {
        fill(&stack);
        let answer = api.try_send("GET", "/health/ready", None).await.ok()?;
        answer.body.to_string().contains("space").then_some(())
    })
    .await;
    let stored = sql.query(newest).await;
    api.get("/v1/connections/default/records/contacts?limit=5")
        .await;
    assert_eq!(sql.query(newest).await, stored, "nothing is added");
    std::fs::remove_file(filler(&stack)).expect("it is there");
    records.change(&stack, "space again").await;
    changing_records::complete_a_run(&stack).await;
    stack.matches_truth("contacts").await;
    changing_records::assert_no_duplicates(&stack).await;
    let letters = stack.api().get("/v1/dead-letters").await;
    assert_eq!(letters["results"], serde_json::json!([]));
}
