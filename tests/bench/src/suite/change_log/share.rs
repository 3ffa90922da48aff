//! The first sync with the index against without. The worker has no switch to leave its
//! index out, and two syncs differ by more than the index takes. So the CPU time of a
//! first sync is measured, and right after it the CPU time of what the index adds to
//! it: looking up and putting the entries of each page, and sending their messages to
//! Kafka. Both cores are busy in a first sync, so its rate is inverse to its CPU time.

use std::time::Duration;

use anyhow::ensure;
use chassis::kafka::KafkaArgs;
use clap::Parser as _;
use rdkafka::{
    config::FromClientConfig as _,
    producer::{BaseProducer, Producer as _},
};

use crate::{
    result::{Goal, Reading},
    suite::{Scale, end_to_end::first_sync, halves::produce},
    system::{Servers, System},
    usage::{self, Usages},
};

/// The work of the index is repeated this often, as once takes less than the kernel's
/// clock of CPU time can tell.
const TIMES: u32 = 20;

/// Time limit of a call to Kafka.
const CALL: Duration = Duration::from_secs(30);

#[derive(Debug, clap::Parser)]
struct ProducerArgs {
    #[command(flatten)]
    kafka: KafkaArgs,
}

pub(super) async fn measure(servers: &Servers, scale: Scale) -> anyhow::Result<Vec<Reading>> {
    let contacts: u32 = scale.of(1_000, 100_000, 100_000);
    let sync = first_sync(servers, System::of(contacts), contacts).await?;
    let with: f64 = sync
        .used
        .each()
        .filter(|it| it.0 != "simulator")
        .map(|it| it.1.cpu_seconds)
        .sum();
    let (entries, messages) = index(servers, contacts).await?;
    let without = with - entries - messages;
    let per_100_000 = 100_000.0 / f64::from(contacts);
    Ok(vec![
        Reading::new(
            "first sync with the index, against without, by CPU time",
            without / with,
            "×",
        )
        .goal(Goal::AtLeast(0.95)),
        Reading::new("CPU of all processes for 100,000", with * per_100_000, "s"),
        Reading::new("of which the index's entries", entries * per_100_000, "s"),
        Reading::new(
            "of which sending its messages, with Kafka's part",
            messages * per_100_000,
            "s",
        ),
    ])
}

/// CPU seconds of the index for a first sync: its entries, and its messages.
async fn index(servers: &Servers, contacts: u32) -> anyhow::Result<(f64, f64)> {
    let kafka =
        ProducerArgs::try_parse_from(["", "--kafka-bootstrap", &servers.bootstrap()])?.kafka;
    let own = std::process::id();
    let processes: Vec<_> = servers.with(own).collect();
    let topic = format!("bench{own}-index");
    servers.create_topic(&topic).await?;
    let used = tokio::task::spawn_blocking({
        let topic = topic.clone();
        move || spent(&kafka, &processes, &topic, contacts)
    });
    let used = used.await??;
    servers.remove_topics(&topic).await?;
    Ok(used)
}

/// The CPU seconds of making the messages, and of sending them to a topic.
fn spent(
    kafka: &KafkaArgs,
    processes: &[(&'static str, u32)],
    topic: &str,
    contacts: u32,
) -> anyhow::Result<(f64, f64)> {
    let own = std::process::id();
    let before = usage::of(own)?;
    let mut made = Vec::new();
    for _ in 0..TIMES {
        made = std::hint::black_box(worker::first_pass(contacts));
    }
    let entries = usage::of(own)?.cpu_seconds - before.cpu_seconds;
    ensure!(!made.is_empty(), "the index writes nothing");

    let producer = BaseProducer::from_config(&kafka.producer("bench"))?;
    let before = Usages::of(processes)?;
    for _ in 0..TIMES {
        for (number, message) in made.iter().enumerate() {
            produce::enqueue(&producer, topic, number.to_string().as_bytes(), message)?;
        }
    }
    producer.flush(CALL)?;
    let used = Usages::of(processes)?.since(&before);
    let messages: f64 = used.each().map(|it| it.1.cpu_seconds).sum();
    let times = f64::from(TIMES);
    Ok((entries / times, messages / times))
}
