//! Records that change while something is broken, and the check that all of
//! them arrived, once.

use std::time::Duration;

use harness::{Stack, api::stream, eventually, stack::SYNC_LIMIT};
use serde_json::{Value, json};

/// How many records change at a time.
const SLICE: usize = 150;

/// Contacts and companies that are changed again and again.
pub(crate) struct ChangingRecords {
    ids: Vec<u64>,
    round: usize,
}

impl ChangingRecords {
    /// Everything is stored once before anything breaks.
    pub(crate) async fn after_first_sync(stack: &Stack) -> Self {
        let records = Self::after_first_run(stack).await;
        stack.matches_truth("contacts").await;
        records
    }

    /// Everything is in the log once, and mostly not stored yet.
    pub(crate) async fn after_first_run(stack: &Stack) -> Self {
        stack.first_sync(json!({})).await;
        Self {
            ids: stack.simulator.portal().ids("contacts"),
            round: 0,
        }
    }

    /// Changes the next slice of contacts, and returns once a search finds them:
    /// a run that begins before has nothing to do.
    pub(crate) async fn change(&mut self, stack: &Stack, what: &str) {
        let begin = self.round * SLICE % self.ids.len();
        let end = (begin + SLICE).min(self.ids.len());
        let value = format!("{what} {}", self.round);
        let slice = self.ids.get(begin..end).unwrap_or_default();
        stack
            .simulator
            .portal()
            .bulk("contacts", slice, &[("jobtitle", &value)])
            .expect("contacts change");
        self.round += 1;
        stack.search_shows_changes().await;
    }

    /// Changes records and asks for a run, then more of them as the fault goes
    /// on, and waits until all of it has arrived.
    pub(crate) async fn change_during<F>(&mut self, stack: &mut Stack, what: &str, fault: F)
    where
        F: AsyncFnOnce(&mut Stack),
    {
        self.change(stack, what).await;
        request_run(stack, "contacts").await;
        fault(stack).await;
        self.change(stack, what).await;
        complete_a_run(stack).await;
        stack.matches_truth("contacts").await;
    }
}

/// Asks for a run, as soon as the API takes a command; its request's id.
pub(crate) async fn request_run(stack: &Stack, stream: &str) -> Value {
    let api = stack.api();
    eventually("a command is taken", Duration::from_mins(1), async || {
        let path = "/v1/connections/default/sync";
        let body = json!({"streams": [stream]});
        let answer = api.send("POST", path, Some(body)).await;
        match answer.status {
            200..=202 => Some(answer.body["requests"][0]["request_id"].clone()),
            503 => None,
            status => panic!("sync: {status} {}", answer.body),
        }
    })
    .await
}

/// Waits until a run that begins after this moment has succeeded: a request
/// onto an unfinished one is that one.
pub(crate) async fn complete_a_run(stack: &Stack) {
    for _ in 0..2 {
        let id = request_run(stack, "contacts").await;
        let what = format!("request {id} is carried out");
        let done = |it: &Value| stream(it, "contacts")["request_done"] == id;
        stack.api().until(&what, "default", SYNC_LIMIT, done).await;
    }
}

/// No row of the change history is there twice, and no version in the log.
pub(crate) async fn assert_no_duplicates(stack: &Stack) {
    stack.log().await.assert_exactly_once();
    let doubled = stack
        .sql()
        .number(
            "SELECT count() - uniqExact(object_type, object_id, topic, partition, offset) \
             FROM hubspot_raw.changes FINAL",
        )
        .await;
    assert_eq!(doubled, 0, "rows of the change history");
}
