//! The alerts of an API that is slow or has too much to do, and of records that are loaded
//! late.

use harness::{Api, Mode, Recording, Stack, wrong_clock::WrongClock};
use serde_json::json;
use tokio::task::JoinSet;

use super::{ask_for_run, assert_fire};

/// Slow enough that a page of records, of 100 kB, takes some seconds.
const SLOW: Mode = Mode::Slow {
    bytes_per_second: 20_000,
};

/// How far the clock of data-streams is ahead of the broker's, in ms. ClickHouse would have
/// to be slow for a minute before the first batch is that late.
const AHEAD: i64 = 60_000;

/// Requests each second, many more than there are places for.
const TOO_MANY: usize = 40;

/// Changes a value of one contact.
fn change_one(stack: &Stack, second: usize) {
    let portal = stack.simulator.portal();
    let (id, value) = (portal.ids("contacts")[0], second.to_string());
    portal.update("contacts", id, &[("city", &value)]).unwrap();
}

/// Asks for a page of records, and waits for the answer.
async fn ask_for_records(api: Api) {
    let path = "/v1/connections/default/records/contacts";
    drop(api.try_send("GET", path, None).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_fire_while_clickhouse_is_slow_and_while_requests_are_too_many() {
    let clock = WrongClock::new();
    clock.shift(AHEAD);
    let mut builder = Stack::with(60, 20).links();
    for (name, value) in clock.variables() {
        builder = builder.data_streams(name, &value);
    }
    let builder = builder.data_streams("API_MAX_REQUESTS", "16");
    let stack = builder.start().await;
    stack.first_sync(json!({"interval": "10s"})).await;
    stack.matches_truth("contacts").await;
    stack.links().data_streams_clickhouse.set(SLOW);
    let mut asked = JoinSet::new();
    let mut recording = Recording::default();
    let each = async |second| {
        change_one(&stack, second);
        ask_for_run(&stack).await;
        asked.spawn(ask_for_records(stack.api()));
    };
    recording.take(&stack, 26, each).await;
    let fire = recording.alerts(&stack, 0).await;
    assert_fire(&fire, &["ApiSlow"]);

    let each = async |second| {
        change_one(&stack, second);
        for _ in 0..TOO_MANY {
            asked.spawn(ask_for_records(stack.api()));
        }
    };
    recording.take(&stack, 15, each).await;
    let fire = recording.alerts(&stack, 0).await;
    assert_fire(&fire, &["ApiOverrun", "LoadedLate"]);
}
