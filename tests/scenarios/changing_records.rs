//! Records that change while something is broken, and the check that each change
//! arrived once.

use harness::{HANG_LIMIT, Stack, api::stream, eventually};
use serde_json::{Value, json};

/// How many records change at a time.
const SLICE: usize = 150;

/// Contacts and companies that are changed again and again.
pub(crate) struct ChangingRecords {
    ids: Vec<u64>,
    round: usize,
}

impl ChangingRecords {
    /// Syncs a portal and waits until ClickHouse holds everything.
    pub(crate) async fn after_first_sync(stack: &Stack) -> Self {
        let records = Self::after_first_run(stack).await;
        stack.matches_truth("contacts").await;
        records
    }

    /// Syncs a portal, without waiting for ClickHouse.
    pub(crate) async fn after_first_run(stack: &Stack) -> Self {
        // No scheduled run may start during a scenario.
        stack.first_sync(json!({"interval": "1h"})).await;
        Self {
            ids: stack.simulator.portal().ids("contacts"),
            round: 0,
        }
    }

    /// Changes the next contacts, and returns once search shows the changes: a
    /// run that starts earlier would find nothing.
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

    /// Changes records and requests a run, causes the fault, changes more records,
    /// and waits until all changes have arrived.
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

/// Requests a run as soon as the API accepts commands; the id of the request.
pub(crate) async fn request_run(stack: &Stack, stream: &str) -> Value {
    let api = stack.api();
    eventually("a command is accepted", HANG_LIMIT, async || {
        let path = "/v1/connections/default/sync";
        let body = json!({"streams": [stream]});
        let answer = api.try_send("POST", path, Some(body)).await.ok()?;
        match answer.status {
            200..=202 => Some(answer.body["requests"][0]["request_id"].clone()),
            503 => None,
            status => panic!("sync: {status} {}", answer.body),
        }
    })
    .await
}

/// Waits until a run that starts after this moment has succeeded. Two requests,
/// as the first may join a run that has started already.
pub(crate) async fn complete_a_run(stack: &Stack) {
    for _ in 0..2 {
        let id = request_run(stack, "contacts").await;
        let what = format!("request {id} is done");
        let done = |it: &Value| stream(it, "contacts")["request_done"] == id;
        stack.api().until(&what, "default", HANG_LIMIT, done).await;
    }
}

/// Panics if the change history has a record twice, or the log a version.
pub(crate) async fn assert_no_duplicates(stack: &Stack) {
    stack.log().await.assert_exactly_once();
    let duplicates = stack
        .sql()
        .number(
            "SELECT count() - uniqExact(object_type, object_id, topic, partition, offset) \
             FROM hubspot_raw.changes FINAL",
        )
        .await;
    assert_eq!(duplicates, 0, "duplicate rows in the change history");
}
