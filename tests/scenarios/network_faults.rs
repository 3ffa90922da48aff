//! The network between the parts: cut, stalled, slow, half-open, and answers
//! that are lost after their request was carried out.

use std::time::Duration;

use harness::{Links, LostAnswer, Mode, Proxy, Request, Stack};

use crate::changing_records::{self, ChangingRecords};

/// The faults of a link, each for a time.
const FAULTS: [(Mode, Duration); 4] = [
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

async fn apply_each_fault(link: &Proxy) {
    for (mode, time) in FAULTS {
        link.hold(mode, time).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// One of the proxies.
type Pick = fn(&Links) -> &Proxy;

async fn assert_each_survives_faults(links: &[(&str, Pick)]) {
    let mut stack = Stack::with(900, 20).links().start().await;
    let mut records = ChangingRecords::after_first_sync(&stack).await;
    stack.simulator.set_latency(Duration::from_millis(20));
    for (name, link) in links {
        records
            .change_during(&mut stack, name, async |stack: &mut Stack| {
                apply_each_fault(link(stack.links())).await;
            })
            .await;
    }
    changing_records::assert_no_duplicates(&stack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_when_the_workers_connections_fail() {
    assert_each_survives_faults(&[
        ("worker-kafka", |links| &links.worker_kafka),
        ("worker-registry", |links| &links.worker_registry),
        ("worker-hubspot", |links| &links.worker_hubspot),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_when_the_connections_of_data_streams_fail() {
    assert_each_survives_faults(&[
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
async fn nothing_is_lost_or_duplicated_when_the_answer_to_a_completed_request_is_lost() {
    /// Kafka's numbers of produce, offset commit, init producer id, adding
    /// partitions to a transaction and its end.
    const PRODUCE: Request = Request::Kafka(0);
    const OFFSET_COMMIT: Request = Request::Kafka(8);
    const ADD_PARTITIONS: Request = Request::Kafka(24);
    const END_TRANSACTION: Request = Request::Kafka(26);

    let mut stack = Stack::with(900, 20).links().start().await;
    let mut records = ChangingRecords::after_first_sync(&stack).await;
    let losses: [(&str, Pick, LostAnswer); 9] = [
        (
            "the end of a transaction",
            |links| &links.worker_kafka,
            LostAnswer::to(END_TRANSACTION),
        ),
        (
            "a later end of a transaction",
            |links| &links.worker_kafka,
            LostAnswer::to(END_TRANSACTION).after(1),
        ),
        (
            "a produce",
            |links| &links.worker_kafka,
            LostAnswer::to(PRODUCE),
        ),
        (
            "partitions added",
            |links| &links.worker_kafka,
            LostAnswer::to(ADD_PARTITIONS),
        ),
        (
            "the worker's membership",
            |links| &links.worker_kafka,
            LostAnswer::to(OFFSET_COMMIT),
        ),
        (
            "a page, in its middle",
            |links| &links.worker_hubspot,
            LostAnswer::to(Request::Containing("batch/read")).within_answer(1_000),
        ),
        (
            "an insert",
            |links| &links.data_streams_clickhouse,
            LostAnswer::to(Request::Containing("INSERT")),
        ),
        (
            "an insert, in the middle of its answer",
            |links| &links.data_streams_clickhouse,
            LostAnswer::to(Request::Containing("INSERT"))
                .after(1)
                .within_answer(20),
        ),
        (
            "an offset commit",
            |links| &links.data_streams_kafka,
            LostAnswer::to(OFFSET_COMMIT),
        ),
    ];
    for (name, link, lost_answer) in losses {
        let lost = link(stack.links()).answers_lost();
        link(stack.links()).lose(lost_answer);
        records
            .change_during(&mut stack, name, async |stack: &mut Stack| {
                link(stack.links())
                    .until_answers_lost(lost + 1, Duration::from_secs(30))
                    .await;
            })
            .await;
        link(stack.links()).clear();
    }
    changing_records::assert_no_duplicates(&stack).await;
}
