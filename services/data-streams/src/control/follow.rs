//! Reads the commands or the status topic from its beginning to its end, and
//! then follows it, to keep the view up to date.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use chassis::{
    Context,
    kafka::{
        KafkaArgs,
        reader::{Step, TopicReader},
    },
    registry::Registry,
    schema_lookup::{MessageRef, SchemaLookup},
};
use rdkafka::{Message as _, error::KafkaError, message::OwnedMessage};
use schemas::Topics;
use serde::de::DeserializeOwned;
use tokio::runtime::Handle;

use super::{Connections, View};
use crate::message_rules::{self, message_rules};

/// Time between retries while Kafka does not answer.
const RETRY: Duration = Duration::from_secs(1);

/// How long a topic is still followed while the process drains.
const DRAIN_LIMIT: Duration = Duration::from_secs(1);

/// Which of the two topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Desired state.
    Commands,
    /// Observed state.
    Status,
}

impl Kind {
    pub(crate) const fn condition(self) -> &'static str {
        match self {
            Self::Commands => "commands",
            Self::Status => "status",
        }
    }
}

/// The topic to follow.
#[derive(Debug, Clone)]
pub(crate) struct Followed {
    /// Name of the topic.
    pub(crate) topic: String,
    /// Which of the two it is.
    pub(crate) kind: Kind,
    /// Number of its partitions.
    pub(crate) partitions: i32,
    /// Schemas that this process registered, by id.
    pub(crate) schemas: Vec<(u32, &'static str)>,
}

struct Follower {
    context: Context,
    reader: TopicReader,
    followed: Followed,
    lookup: SchemaLookup,
    runtime: Handle,
    view: View,
    /// When Kafka last did not answer; `None` while it answers.
    unanswered_at: Option<Instant>,
}

/// Follows a topic on a thread of its own until the process ends.
pub(crate) async fn run(
    context: Context,
    kafka: KafkaArgs,
    registry: Registry,
    followed: Followed,
    view: View,
) -> anyhow::Result<()> {
    let runtime = Handle::current();
    tokio::task::spawn_blocking(move || {
        let mut settings = kafka.follower("data-streams-control", "unused-control");
        settings.set("reconnect.backoff.max.ms", "500");
        let partitions = 0..followed.partitions;
        let reader = TopicReader::from_beginning(&settings, &followed.topic, partitions)?;
        let own = followed.schemas.iter().copied();
        let rules = message_rules(Topics::with_prefix(&kafka.topic_prefix));
        let lookup = SchemaLookup::new(Arc::new(registry), rules, own);
        let mut follower = Follower {
            context,
            reader,
            lookup,
            followed,
            runtime,
            view,
            unanswered_at: None,
        };
        follower.follow();
        Ok(())
    })
    .await
    .context("the follower of the control topics panicked")?
}

impl Follower {
    fn follow(&mut self) {
        let mut drain_until = None;
        loop {
            // API requests may still wait to see their command or its status.
            if self.context.draining().is_cancelled() {
                let until = *drain_until.get_or_insert_with(|| Instant::now() + DRAIN_LIMIT);
                if Instant::now() >= until || self.context.stopping().is_cancelled() {
                    return;
                }
            }
            match self.reader.step_owned() {
                Step::Idle => self.check_if_back(),
                Step::Message(message) => {
                    self.mark_available();
                    self.take(&message);
                }
                Step::End(_) => {
                    self.mark_available();
                    self.reached_end();
                }
                Step::Unavailable(error) => {
                    self.mark_unavailable(&error);
                    self.check_if_back();
                }
            }
        }
    }

    fn take(&self, message: &OwnedMessage) {
        let key = message.key().unwrap_or_default();
        let name = String::from_utf8_lossy(key);
        let offset = message.offset();
        match (self.followed.kind, message.payload()) {
            (Kind::Status, None) => self.view.update(|state| state.status_gone(&name)),
            (Kind::Status, Some(value)) => self.read(offset, key, value, Connections::status),
            (Kind::Commands, None) => self.view.update(|state| state.command_gone(&name)),
            (Kind::Commands, Some(value)) => {
                self.read(offset, key, value, |state, it| state.command(offset, it));
            }
        }
        if self.followed.kind == Kind::Commands {
            self.view.advance(message.partition(), offset + 1);
        }
    }

    /// Skips a message that cannot be decoded; the previous state stays.
    fn read<T: DeserializeOwned>(
        &self,
        offset: i64,
        key: &[u8],
        value: &[u8],
        update: impl FnOnce(&mut Connections, T),
    ) {
        let topic = self.followed.topic.as_str();
        let message = MessageRef { topic, key, value };
        let (context, condition) = (&self.context, self.followed.kind.condition());
        let holds_after = self.reader.is_at_end();
        let decoded = message_rules::decode(&self.lookup, message, context, condition, holds_after);
        match self.runtime.block_on(decoded) {
            Some(Ok(message)) => self.view.update(|state| update(state, message)),
            Some(Err(error)) => {
                tracing::warn!(topic, offset, error, "unreadable control message");
            }
            None => {}
        }
    }

    fn reached_end(&mut self) {
        if self.reader.is_at_end() {
            self.view.caught_up(self.followed.kind);
            self.context.health().holds(self.followed.kind.condition());
        }
    }

    fn mark_unavailable(&mut self, error: &KafkaError) {
        if self.unanswered_at.is_none() {
            tracing::warn!(%error, "kafka does not answer");
        }
        self.context.health().fails("kafka", error.to_string());
        self.unanswered_at.get_or_insert_with(Instant::now);
    }

    fn mark_available(&mut self) {
        if self.unanswered_at.take().is_some() {
            self.context.health().holds("kafka");
        }
    }

    /// An idle reader does not notice that Kafka is back, so this asks.
    fn check_if_back(&mut self) {
        if self.unanswered_at.is_some_and(|at| at.elapsed() >= RETRY) {
            if self.reader.is_answered_within(RETRY) {
                self.mark_available();
            } else {
                self.unanswered_at = Some(Instant::now());
            }
        }
    }
}
