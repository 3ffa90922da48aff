//! The topics: their names, settings and the subjects of their schemas.
//!
//! It must not know how a topic is created.

/// Names of all topics under one prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topics {
    /// Desired state, from data-streams to the worker.
    pub commands: String,
    /// The change log.
    pub records: String,
    /// How far each stream has come.
    pub checkpoints: String,
    /// What the worker observes.
    pub status: String,
    /// Property definitions.
    pub definitions: String,
    /// What could not be stored or sent.
    pub dead_letters: String,
}

/// One topic as it has to be on the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Full name, prefix included.
    pub name: String,
    /// Settings whose difference is refused at start, as they decide what the
    /// topic means.
    pub required: Vec<(&'static str, String)>,
    /// Settings given at creation only.
    pub advised: Vec<(&'static str, String)>,
    /// Whether its partition count is the one that `commands`, `checkpoints`
    /// and `status` share.
    pub is_control: bool,
}

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;
const MIB: u64 = 1024 * 1024;

impl Topics {
    /// Names under `prefix`, which is used as it is (`hubspot.` by default).
    pub fn with_prefix(prefix: &str) -> Self {
        let name = |suffix: &str| format!("{prefix}{suffix}");
        Self {
            commands: name("commands"),
            records: name("records"),
            checkpoints: name("checkpoints"),
            status: name("status"),
            definitions: name("definitions"),
            dead_letters: name("dead-letters"),
        }
    }

    /// Every topic with its settings, in the order in which to create them.
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

    /// Topic and Avro schema of every value, in the order in which subjects
    /// register.
    pub fn schemas(&self) -> [(&str, &'static str); 5] {
        [
            (&self.commands, crate::command::SCHEMA),
            (&self.checkpoints, crate::checkpoint::SCHEMA),
            (&self.status, crate::status::SCHEMA),
            (&self.definitions, crate::definitions::SCHEMA),
            (&self.records, crate::crm_record::SCHEMA),
        ]
    }
}

/// Subject of a topic's values: Confluent's `TopicNameStrategy`.
pub fn subject(topic: &str) -> String {
    format!("{topic}-value")
}

/// Messages are stamped by the broker: one stamped by a clock that is more than
/// an hour ahead of the broker's is refused, so that no position could be
/// written.
fn stamped_by_the_broker() -> (&'static str, String) {
    ("message.timestamp.type", "LogAppendTime".to_owned())
}

/// Without a short segment and a low dirty ratio a compacted topic of small
/// messages is never compacted: the active segment is exempt.
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
    fn every_topic_is_stamped_by_the_broker_so_that_no_clock_makes_it_unwritable() {
        for topic in Topics::with_prefix("p.").all() {
            let stamp = stamped_by_the_broker();
            assert!(topic.advised.contains(&stamp), "{}", topic.name);
        }
    }
}
