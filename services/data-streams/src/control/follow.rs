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
    schema_lookup::{FoundSchema, MessageRef, SchemaLookup},
};
use rdkafka::{Message as _, error::KafkaError, message::OwnedMessage};
use schemas::{Command, Status, Topics, codec, unframe};
use tokio::runtime::Handle;

use super::View;
use crate::message_rules::message_rules;

/// Time between retries while Kafka or the registry does not answer.
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
        let mut settings = kafka.consumer("data-streams-control", "unused-control");
        settings
            .set("fetch.wait.max.ms", "50")
            .set("reconnect.backoff.max.ms", "500");
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

    fn take(&mut self, message: &OwnedMessage) {
        let is_status = self.followed.kind == Kind::Status;
        let key = message.key().unwrap_or_default();
        let name = String::from_utf8_lossy(key).into_owned();
        let offset = message.offset();
        match message.payload() {
            None if is_status => self.view.update(|state| state.status_gone(&name)),
            None => self.view.update(|state| state.command_gone(&name)),
            Some(payload) => self.decode(offset, key, payload),
        }
        if !is_status {
            self.view.advance(message.partition(), offset + 1);
        }
    }

    /// Skips a message that cannot be decoded; the previous state stays.
    fn decode(&mut self, offset: i64, key: &[u8], payload: &[u8]) {
        let topic = self.followed.topic.clone();
        let schema = match self.schema(key, payload) {
            Ok(schema) => schema,
            Err(reason) => {
                tracing::warn!(topic, offset, reason, "unreadable control message");
                return;
            }
        };
        let datum = unframe(payload).map_or(payload, |framed| framed.datum);
        let outcome = if self.followed.kind == Kind::Status {
            codec::decode::<Status>(&schema, datum)
                .map(|status| self.view.update(|state| state.status(status)))
        } else {
            codec::decode::<Command>(&schema, datum)
                .map(|command| self.view.update(|state| state.command(offset, command)))
        };
        if let Err(error) = outcome {
            tracing::warn!(topic, offset, %error, "unreadable control message");
        }
    }

    /// The writer's schema, or why there is none. Waits for a registry that does
    /// not answer or whose data has to be restored; health gives the reason.
    fn schema(&self, key: &[u8], payload: &[u8]) -> Result<Arc<str>, String> {
        let condition = self.followed.kind.condition();
        let mut waited = false;
        let settled = loop {
            let found = self.lookup.find(MessageRef {
                topic: &self.followed.topic,
                key,
                value: payload,
            });
            let reason = match self.runtime.block_on(found) {
                Ok(FoundSchema::Known(schema)) => break Ok(schema),
                Ok(FoundSchema::Poison(reason)) => break Err(reason),
                Ok(FoundSchema::Later(reason)) => reason,
                Err(error) => error.to_string(),
            };
            waited = true;
            self.context.health().fails(condition, reason);
            let draining = self.context.draining().cancelled();
            let ended = self
                .runtime
                .block_on(async { tokio::time::timeout(RETRY, draining).await });
            if ended.is_ok() {
                return Err("the process ends".to_owned());
            }
        };
        if waited && self.reader.is_at_end() {
            self.context.health().holds(condition);
        }
        settled
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
