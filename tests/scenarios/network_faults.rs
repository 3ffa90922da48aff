//! The network between the parts: cut, stalled, slow, half-open, and answers
//! that are lost after their request was done.

use std::time::Duration;

use harness::{Ambush, Links, Mode, Proxy, Request, Stack};

use crate::changing_records::{self, Load};

/// Modes one after the other, each for a time, as a connection would have them
/// on a bad day.
const BAD_DAY: [(Mode, Duration); 4] = [
    (Mode::Cut, Duration::from_millis(700)),
    (Mode::Stall, Duration::from_millis(1_500)),
    (Mode::HalfOpen, Duration::from_millis(1_500)),
    (
        Mode::Slow {
            bytes_per_second: 20_000,
        },
        Duration::from_millis(1_500),
    ),
];

async fn bad_day(link: &Proxy) {
    for (mode, time) in BAD_DAY {
        link.hold(mode, time).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// One of the proxies.
type Pick = fn(&Links) -> &Proxy;

async fn each_has_a_bad_day(links: &[(&str, Pick)]) {
    let mut stack = Stack::with(900, 20).links().start().await;
    let mut load = Load::after_first_sync(&stack).await;
    stack.simulator.set_latency(Duration::from_millis(20));
    for (name, link) in links {
        load.through(&mut stack, name, async |stack: &mut Stack| {
            bad_day(link(stack.links())).await;
        })
        .await;
    }
    changing_records::nothing_is_doubled(&stack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_connection_of_the_worker_may_have_a_bad_day() {
    each_has_a_bad_day(&[
        ("worker-kafka", |links| &links.worker_kafka),
        ("worker-registry", |links| &links.worker_registry),
        ("worker-hubspot", |links| &links.worker_hubspot),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_connection_of_data_streams_may_have_a_bad_day() {
    each_has_a_bad_day(&[
        ("data-streams-kafka", |links| &links.data_streams_kafka),
        ("data-streams-registry", |links| {
            &links.data_streams_registry
        }),
        ("data-streams-clickhouse", |links| {
            &links.data_streams_clickhouse
        }),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_lost_after_its_request_was_done_loses_and_doubles_nothing() {
    /// Kafka's numbers of produce, offset commit, init producer id, adding
    /// partitions to a transaction and its end.
    const PRODUCE: Request = Request::Kafka(0);
    const OFFSET_COMMIT: Request = Request::Kafka(8);
    const ADD_PARTITIONS: Request = Request::Kafka(24);
    const END_TRANSACTION: Request = Request::Kafka(26);

    let mut stack = Stack::with(900, 20).links().start().await;
    let mut load = Load::after_first_sync(&stack).await;
    let losses: [(&str, Pick, Ambush); 9] = [
        (
            "the end of a transaction",
            |links| &links.worker_kafka,
            Ambush::on(END_TRANSACTION),
        ),
        (
            "a later end of a transaction",
            |links| &links.worker_kafka,
            Ambush::on(END_TRANSACTION).after(1),
        ),
        (
            "a produce",
            |links| &links.worker_kafka,
            Ambush::on(PRODUCE),
        ),
        (
            "partitions added",
            |links| &links.worker_kafka,
            Ambush::on(ADD_PARTITIONS),
        ),
        (
            "the worker's membership",
            |links| &links.worker_kafka,
            Ambush::on(OFFSET_COMMIT),
        ),
        (
            "a page, in its middle",
            |links| &links.worker_hubspot,
            Ambush::on(Request::Containing("batch/read")).within_answer(1_000),
        ),
        (
            "an insert",
            |links| &links.data_streams_clickhouse,
            Ambush::on(Request::Containing("INSERT")),
        ),
        (
            "an insert, in the middle of its answer",
            |links| &links.data_streams_clickhouse,
            Ambush::on(Request::Containing("INSERT"))
                .after(1)
                .within_answer(20),
        ),
        (
            "an offset commit",
            |links| &links.data_streams_kafka,
            Ambush::on(OFFSET_COMMIT),
        ),
    ];
    for (name, link, ambush) in losses {
        let sprung = link(stack.links()).sprung();
        link(stack.links()).lay(ambush);
        load.through(&mut stack, name, async |stack: &mut Stack| {
            link(stack.links())
                .until_sprung(sprung + 1, Duration::from_secs(30))
                .await;
        })
        .await;
        link(stack.links()).clear();
    }
    changing_records::nothing_is_doubled(&stack).await;
}
