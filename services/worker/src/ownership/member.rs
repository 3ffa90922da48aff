//! The member of the consumer group and the commits that confirm membership, each
//! on its own thread.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
        mpsc as blocking,
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use chassis::{kafka::KafkaArgs, traces::TraceParent};
use rdkafka::{
    ClientContext, Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, Rebalance},
    error::KafkaError,
};
use schemas::Topics;
use tokio::sync::mpsc;

use super::{Assignment, CommandMessage, Event, Events, Lease, PartitionLeases};

/// Without a heartbeat for this time, the group assigns our partitions to
/// others.
const SESSION: Duration = Duration::from_secs(6);
/// How much earlier requests to HubSpot stop.
const MARGIN: Duration = Duration::from_secs(2);
/// Time from one confirmation of membership to the next.
const CONFIRM: Duration = Duration::from_secs(1);
/// How long a rebalance waits for the streams to stop.
const RELEASE_LIMIT: Duration = Duration::from_secs(3);

type Consumer = BaseConsumer<Context>;

/// Callbacks of the client, on the thread that polls.
struct Context {
    events: mpsc::UnboundedSender<Event>,
    leases: PartitionLeases,
    lease: Lease,
}

impl ClientContext for Context {
    fn error(&self, error: KafkaError, reason: &str) {
        super::report(&error, reason);
    }
}

impl ConsumerContext for Context {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(_) => {}
            Rebalance::Revoke(_) | Rebalance::Error(_) => self.release(),
        }
    }

    fn post_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Assign(partitions) = rebalance {
            let assigned: Vec<_> = partitions
                .elements()
                .iter()
                .map(|it| Assignment {
                    partition: it.partition(),
                    lease: self.leases.grant(it.partition(), &self.lease),
                })
                .collect();
            tracing::info!(partitions = assigned.len(), "partitions assigned");
            // A receiver that is gone has stopped everything.
            drop(self.events.send(Event::Assigned(assigned)));
        }
    }
}

impl Context {
    /// Ends the leases at once, then waits up to [`RELEASE_LIMIT`] until the
    /// streams have stopped and the producers are gone.
    fn release(&self) {
        self.leases.revoke_all();
        self.lease.lose();
        let (done, gone) = blocking::sync_channel(1);
        if self.events.send(Event::Revoked(done)).is_ok()
            && gone.recv_timeout(RELEASE_LIMIT) == Err(blocking::RecvTimeoutError::Timeout)
        {
            tracing::warn!("partitions are released before their streams have stopped");
        }
    }
}

/// This process as a member of the group.
#[derive(Debug)]
pub(crate) struct Membership {
    leaving: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Membership {
    /// Leaves the group, so that others take over at once. Blocks.
    pub(crate) fn leave(self) {
        self.leaving.store(true, Ordering::SeqCst);
        // The panic hook has reported a panic.
        drop(self.thread.join());
    }
}

/// Joins the group of the commands topic.
pub(crate) fn join(kafka: &KafkaArgs, client_id: &str) -> anyhow::Result<(Membership, Events)> {
    let topics = Topics::with_prefix(&kafka.topic_prefix);
    let (events, receiver) = mpsc::unbounded_channel();
    let lease = Lease::new(SESSION.saturating_sub(MARGIN));
    let context = Context {
        events: events.clone(),
        leases: PartitionLeases::default(),
        lease: lease.clone(),
    };
    let consumer: Consumer = kafka
        .follower(client_id, &format!("{}worker", kafka.topic_prefix))
        .set("session.timeout.ms", SESSION.as_millis().to_string())
        .set("heartbeat.interval.ms", "1000")
        .set("max.poll.interval.ms", "300000")
        // All partitions move in a rebalance: simpler, and rebalances are rare.
        .set("partition.assignment.strategy", "range")
        .create_with_context(context)?;
    consumer.subscribe(&[&topics.commands])?;
    let leaving = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&leaving);
    let confirmed = lease.clone();
    let thread = std::thread::Builder::new()
        .name("membership".to_owned())
        .spawn(move || {
            let consumer = Arc::new(consumer);
            let (watched, topic) = (Arc::downgrade(&consumer), topics.commands);
            let confirming = std::thread::Builder::new()
                .name("lease".to_owned())
                .spawn(move || confirm(&watched, &topic, &confirmed));
            if let Err(error) = confirming {
                drop(events.send(Event::Failed(error.to_string())));
                return;
            }
            poll(&consumer, &events, &stop, CertaintyLog::new(lease));
            // Dropping the last reference leaves the group.
        })?;
    Ok((Membership { leaving, thread }, receiver))
}

/// Logs when membership is no longer certain, and when it is again. No request
/// starts in between, and no other log message gives the reason.
struct CertaintyLog {
    lease: Lease,
    is_certain: bool,
}

impl CertaintyLog {
    fn new(lease: Lease) -> Self {
        Self {
            lease,
            is_certain: false,
        }
    }

    fn update(&mut self, consumer: &Consumer) {
        if self.lease.is_fresh() == self.is_certain {
            return;
        }
        self.is_certain = !self.is_certain;
        if self.is_certain {
            tracing::info!("membership is certain");
        } else if consumer.assignment().is_ok_and(|it| it.count() > 0) {
            tracing::warn!("membership is uncertain: no request to HubSpot starts");
        }
    }
}

fn poll(
    consumer: &Consumer,
    events: &mpsc::UnboundedSender<Event>,
    leaving: &AtomicBool,
    mut certainty: CertaintyLog,
) {
    while !leaving.load(Ordering::SeqCst) {
        certainty.update(consumer);
        let event = match consumer.poll(Duration::from_millis(100)) {
            None => continue,
            Some(Ok(message)) => Event::Command(CommandMessage {
                partition: message.partition(),
                offset: message.offset(),
                key: message.key().unwrap_or_default().to_vec(),
                payload: message.payload().map(<[u8]>::to_vec),
                trace: TraceParent::of_message(&message),
            }),
            Some(Err(KafkaError::PartitionEOF(partition))) => Event::End(partition),
            Some(Err(error)) => {
                if let Some((_, reason)) = consumer.client().fatal_error() {
                    drop(events.send(Event::Failed(reason)));
                    return;
                }
                tracing::warn!(%error, "commands cannot be read now");
                continue;
            }
        };
        if events.send(event).is_err() {
            return;
        }
    }
}

/// Confirms membership by committing an offset: the group's coordinator refuses
/// a commit of a process that is not a member of the current generation. The
/// offset is always 0, as commands are state and are read from the beginning.
fn confirm(consumer: &Weak<Consumer>, topic: &str, lease: &Lease) {
    loop {
        let Some(consumer) = consumer.upgrade() else {
            return;
        };
        let mut offsets = TopicPartitionList::new();
        for element in consumer
            .assignment()
            .iter()
            .flat_map(TopicPartitionList::elements)
        {
            if offsets
                .add_partition_offset(topic, element.partition(), Offset::Offset(0))
                .is_ok()
            {
                break;
            }
        }
        let mut pause = CONFIRM;
        if offsets.count() == 0 {
            pause = Duration::from_millis(50);
        } else {
            let sent = Instant::now();
            match consumer.commit(&offsets, CommitMode::Sync) {
                Ok(()) => lease.confirm(sent),
                Err(error) => {
                    tracing::warn!(%error, "membership is not confirmed");
                    pause = Duration::from_millis(250);
                }
            }
        }
        drop(consumer);
        crate::pause(pause);
    }
}
