//! The topics: their names, settings and the subjects of their schemas.

/// Names of all topics with one prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topics {
    /// Desired state, from data-streams to the worker.
    pub commands: String,
    /// The change log.
    pub records: String,
    /// Checkpoints of the streams.
    pub checkpoints: String,
    /// Observed state, from the worker.
    pub status: String,
    /// Property definitions.
    pub definitions: String,
    /// What the worker has written of each object.
    pub index: String,
    /// Messages that could not be stored or sent.
    pub dead_letters: String,
}

/// A topic with its settings on the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Full name, prefix included.
    pub name: String,
    /// Settings that must have these values, as the meaning of the topic depends
    /// on them. Checked at start.
    pub required: Vec<(&'static str, String)>,
    /// Settings for its creation, not checked later.
    pub advised: Vec<(&'static str, String)>,
    /// Whether it has as many partitions as `commands`, `checkpoints`, `status` and
    /// `index`, which share their number.
    pub is_control: bool,
}

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;
const MIB: u64 = 1024 * 1024;

impl Topics {
    /// Names that begin with `prefix`, by default `hubspot.`.
    pub fn with_prefix(prefix: &str) -> Self {
        let name = |suffix: &str| format!("{prefix}{suffix}");
        Self {
            commands: name("commands"),
            records: name("records"),
            checkpoints: name("checkpoints"),
            status: name("status"),
            definitions: name("definitions"),
            index: name("index"),
            dead_letters: name("dead-letters"),
        }
    }

    /// All topics with their settings, in the order of their creation.
    pub fn all(&self) -> Vec<Topic> {
        let control = |name: &str| Topic {
            name: name.to_owned(),
            required: vec![("cleanup.policy", "compact".to_owned())],
            advised: compacted(),
            is_control: true,
        };
        let mut records = compacted();
        records.push(("min.compaction.lag.ms", (7 * DAY_MS).to_string()));
        records.push(("max.message.bytes", (32 * MIB).to_string()));
        vec![
            control(&self.commands),
            control(&self.checkpoints),
            control(&self.status),
            control(&self.index),
            Topic {
                name: self.definitions.clone(),
                required: vec![("cleanup.policy", "compact".to_owned())],
                advised: [
                    compacted(),
                    vec![("max.message.bytes", (32 * MIB).to_string())],
                ]
                .concat(),
                is_control: false,
            },
            Topic {
                name: self.records.clone(),
                required: vec![("cleanup.policy", "compact".to_owned())],
                advised: records,
                is_control: false,
            },
            Topic {
                name: self.dead_letters.clone(),
                required: vec![("cleanup.policy", "delete".to_owned())],
                advised: vec![
                    ("retention.ms", (30 * DAY_MS).to_string()),
                    stamped_by_the_broker(),
                    ("max.message.bytes", (40 * MIB).to_string()),
                ],
                is_control: false,
            },
        ]
    }

    /// Topics with the Avro schemas of their values, in the order of their
    /// registration.
    pub fn schemas(&self) -> [(&str, &'static str); 6] {
        [
            (&self.commands, crate::command::SCHEMA),
            (&self.checkpoints, crate::checkpoint::SCHEMA),
            (&self.status, crate::status::SCHEMA),
            (&self.definitions, crate::definitions::SCHEMA),
            (&self.records, crate::crm_record::SCHEMA),
            (&self.index, crate::index::SCHEMA),
        ]
    }
}

/// Subject of a topic's values: Confluent's `TopicNameStrategy`.
pub fn subject(topic: &str) -> String {
    format!("{topic}-value")
}

/// The broker sets the timestamps. It refuses a message whose own timestamp is
/// more than an hour ahead of its clock, so a wrong clock of a producer would
/// prevent checkpoints.
fn stamped_by_the_broker() -> (&'static str, String) {
    ("message.timestamp.type", "LogAppendTime".to_owned())
}

/// A compacted topic of small messages needs short segments and a low dirty
/// ratio: the active segment is never compacted.
fn compacted() -> Vec<(&'static str, String)> {
    vec![
        stamped_by_the_broker(),
        ("segment.ms", HOUR_MS.to_string()),
        ("min.cleanable.dirty.ratio", "0.1".to_owned()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_broker_sets_the_timestamps_of_every_topic() {
        for topic in Topics::with_prefix("p.").all() {
            let stamp = stamped_by_the_broker();
            assert!(topic.advised.contains(&stamp), "{}", topic.name);
        }
    }
}
