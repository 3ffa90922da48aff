//! Reads the commands or the status topic, all partitions, from the beginning,
//! and then follows it.
//!
//! It must not know what is done with the state.

use std::{
    collections::HashMap,
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

/// How often a Kafka that is away is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// How long a topic is followed when the process is to end.
const LAST_ECHO: Duration = Duration::from_secs(1);

/// What a topic holds.
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

/// What to follow.
#[derive(Debug, Clone)]
pub(crate) struct Followed {
    /// Name of the topic.
    pub(crate) topic: String,
    /// What it holds.
    pub(crate) kind: Kind,
    /// Its partitions.
    pub(crate) partitions: i32,
    /// Schemas that need no registry, by id.
    pub(crate) schemas: HashMap<u32, String>,
}

struct Follower {
    context: Context,
    reader: TopicReader,
    followed: Followed,
    lookup: SchemaLookup,
    runtime: Handle,
    view: View,
    /// When Kafka was last found to be away.
    away_since: Option<Instant>,
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
        let own = followed.schemas.iter().map(|(id, it)| (*id, it.as_str()));
        let rules = message_rules(Topics::with_prefix(&kafka.topic_prefix));
        let lookup = SchemaLookup::new(Arc::new(registry), rules, own);
        let mut follower = Follower {
            context,
            reader,
            lookup,
            followed,
            runtime,
            view,
            away_since: None,
        };
        let condition = follower.followed.kind.condition();
        follower.context.health().fails(condition, "being read");
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
            // Requests under way may still wait for their echo.
            if self.context.draining().is_cancelled() {
                let until = *drain_until.get_or_insert_with(|| Instant::now() + LAST_ECHO);
                if Instant::now() >= until || self.context.stopping().is_cancelled() {
                    return;
                }
            }
            match self.reader.step(|message| message.detach()) {
                Step::Idle => self.ask_if_away(),
                Step::Message(message) => {
                    self.is_back();
                    self.take(&message);
                }
                Step::End(_) => {
                    self.is_back();
                    self.reached_end();
                }
                Step::Unavailable(error) => {
                    self.is_away(&error);
                    self.ask_if_away();
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

    /// A message that can never be read is passed over: the state before it
    /// stands.
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
                .block_on(async { tokio::time::timeout(ASK_AGAIN, draining).await });
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

    fn is_away(&mut self, error: &KafkaError) {
        if self.away_since.is_none() {
            tracing::warn!(%error, "kafka is away");
        }
        self.context.health().fails("kafka", error.to_string());
        self.away_since.get_or_insert_with(Instant::now);
    }

    fn is_back(&mut self) {
        if self.away_since.take().is_some() {
            self.context.health().holds("kafka");
        }
    }

    /// Nothing is heard from an idle Kafka that came back, so it is asked.
    fn ask_if_away(&mut self) {
        if self
            .away_since
            .is_some_and(|since| since.elapsed() >= ASK_AGAIN)
        {
            if self.reader.is_answered_within(ASK_AGAIN) {
                self.is_back();
            } else {
                self.away_since = Some(Instant::now());
            }
        }
    }
}
