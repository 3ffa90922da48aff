//! Settings that all Kafka clients share, creating topics, and reading them.

use std::fmt;

use rdkafka::ClientConfig;

pub mod producer;
pub mod reader;
pub(crate) mod sample;
pub mod security;
pub(crate) mod topics;

pub use security::{SecurityArgs, SecurityError};
pub use topics::TopicSpec;

/// Maximum length of the prefix of topics: Kafka allows names of 249 characters.
const LONGEST_PREFIX: usize = 200;

/// Where Kafka is and how its topics are laid out.
#[derive(Debug, Clone, clap::Args)]
pub struct KafkaArgs {
    /// Brokers to connect to first, as host:port, comma-separated.
    #[arg(long, env, default_value = "127.0.0.1:9092", value_parser = brokers)]
    pub kafka_bootstrap: String,

    /// Prefix of every topic's name: letters, digits, `.`, `_` and `-`.
    #[arg(long, env, default_value = "hubspot.", value_parser = prefix)]
    pub topic_prefix: String,

    /// Partitions of the commands, checkpoints and status topics. Cannot be
    /// changed once they exist.
    #[arg(long, env, default_value = "8", value_parser = clap::value_parser!(i32).range(1..=1024))]
    pub control_partitions: i32,

    /// Partitions of the other topics.
    #[arg(long, env, default_value = "8", value_parser = clap::value_parser!(i32).range(1..=1024))]
    pub record_partitions: i32,

    /// Replicas of each partition of topics that are created. Without it the brokers'
    /// `default.replication.factor` counts.
    #[arg(long, env, value_parser = clap::value_parser!(i32).range(1..=7))]
    pub replication: Option<i32>,

    /// TLS and login.
    #[command(flatten)]
    pub security: SecurityArgs,

    /// Settings of librdkafka for producers, as key=value, comma-separated, to
    /// tune speed (`compression.type`, `linger.ms`, `batch.size`). Settings that
    /// guarantee correctness cannot be changed.
    #[arg(long, env, hide_env_values = true, value_delimiter = ',', value_parser = setting)]
    pub kafka_producer_settings: Vec<ClientSetting>,

    /// The same for consumers (`fetch.message.max.bytes`, `fetch.max.bytes`,
    /// `queued.max.messages.kbytes`).
    #[arg(long, env, hide_env_values = true, value_delimiter = ',', value_parser = setting)]
    pub kafka_consumer_settings: Vec<ClientSetting>,
}

/// A setting of librdkafka.
#[derive(Clone)]
pub struct ClientSetting {
    key: String,
    value: String,
}

/// Shows the value only where the key says that it is none of a secret.
impl fmt::Debug for ClientSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let may_be_shown = ["password", "secret", "pem", "jaas", "oauthbearer"]
            .iter()
            .all(|part| !self.key.contains(part));
        let value = if may_be_shown { &self.value } else { "***" };
        write!(f, "{}={value}", self.key)
    }
}

fn brokers(text: &str) -> Result<String, String> {
    let is_broker = |it: &str| {
        let (host, port) = it.trim().rsplit_once(':').unwrap_or_default();
        !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
    };
    if text.split(',').all(is_broker) {
        Ok(text.to_owned())
    } else {
        Err("host:port is needed, or several of them with commas between".to_owned())
    }
}

fn prefix(text: &str) -> Result<String, String> {
    let is_allowed = |it: char| it.is_ascii_alphanumeric() || matches!(it, '.' | '_' | '-');
    if text.len() <= LONGEST_PREFIX && text.chars().all(is_allowed) {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "at most {LONGEST_PREFIX} letters, digits, '.', '_' and '-' are allowed"
        ))
    }
}

fn setting(text: &str) -> Result<ClientSetting, String> {
    let (key, value) = text.split_once('=').ok_or("key=value is needed")?;
    let (key, value) = (key.trim(), value.trim());
    // The client's error names the value, which may be a secret.
    ClientConfig::new()
        .set(key, value)
        .create_native_config()
        .map_err(|_named| format!("librdkafka has no setting {key}, or not with this value"))?;
    Ok(ClientSetting {
        key: key.to_owned(),
        value: value.to_owned(),
    })
}

fn extend(config: &mut ClientConfig, settings: &[ClientSetting]) {
    for ClientSetting { key, value } in settings {
        config.set(key, value);
    }
}

impl KafkaArgs {
    /// Settings of every client.
    pub fn client(&self, client_id: &str) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.kafka_bootstrap)
            .set("client.id", client_id)
            // The default of 10 s delays the first connection to a broker that
            // is back.
            .set("reconnect.backoff.max.ms", "1000")
            .set("socket.keepalive.enable", "true")
            .set("socket.nagle.disable", "true");
        self.security.apply(&mut config);
        config
    }

    /// Settings of a producer: idempotent, acknowledged by all replicas, with the
    /// partitioner of Java's clients.
    pub fn producer(&self, client_id: &str) -> ClientConfig {
        let mut config = self.client(client_id);
        config.set("compression.type", "lz4").set("linger.ms", "5");
        extend(&mut config, &self.kafka_producer_settings);
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("partitioner", "murmur2_random")
            // The broker's limit for dead letters, the largest of all topics.
            .set("message.max.bytes", (40 * 1024 * 1024).to_string())
            .set("queue.buffering.max.kbytes", (16 * 1024).to_string());
        config
    }

    /// Settings of a transactional producer.
    pub fn transactional_producer(&self, client_id: &str, transactional_id: &str) -> ClientConfig {
        let mut config = self.producer(client_id);
        config
            .set("transactional.id", transactional_id)
            .set("transaction.timeout.ms", "15000")
            // Must be below the transaction's timeout.
            .set("message.timeout.ms", "12000");
        config
    }

    /// Settings of a consumer that reads only committed messages, reports the end
    /// of each partition, and does not commit offsets by itself.
    pub fn consumer(&self, client_id: &str, group: &str) -> ClientConfig {
        self.consumer_that_waits(50, client_id, group)
    }

    /// As [`consumer`](Self::consumer), for one that follows a topic for as long as the
    /// process runs. It gets messages as soon, but asks an idle broker twice a second
    /// instead of 20 times, and the end of a partition is reported up to 0.5 s late.
    pub fn follower(&self, client_id: &str, group: &str) -> ClientConfig {
        self.consumer_that_waits(500, client_id, group)
    }

    /// `wait_ms` is how long the broker waits for messages before it answers that there
    /// are none.
    fn consumer_that_waits(&self, wait_ms: u32, client_id: &str, group: &str) -> ClientConfig {
        let mut config = self.client(client_id);
        config
            .set("fetch.wait.max.ms", wait_ms.to_string())
            // Compressed sizes: decompressed, one answer of the broker takes
            // several times as much memory, besides the queue. A larger message
            // is fetched nevertheless.
            .set("fetch.message.max.bytes", (512 * 1024).to_string())
            .set("fetch.max.bytes", (2 * 1024 * 1024).to_string())
            .set("queued.max.messages.kbytes", (8 * 1024).to_string())
            // With the default, librdkafka pauses fetching for a second once
            // the queue is full, which limits reading to 18,000 records/s
            // instead of 60,000.
            .set("fetch.queue.backoff.ms", "5");
        extend(&mut config, &self.kafka_consumer_settings);
        config
            .set("group.id", group)
            .set("isolation.level", "read_committed")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("enable.partition.eof", "true")
            .set("auto.offset.reset", "earliest")
            .set("receive.message.max.bytes", (100 * 1024 * 1024).to_string());
        config
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use clap::Parser as _;

    use super::KafkaArgs;

    #[derive(Debug, clap::Parser)]
    struct Flags {
        #[command(flatten)]
        kafka: KafkaArgs,
    }

    /// Defaults, with these brokers.
    pub(crate) fn args(bootstrap: &str) -> KafkaArgs {
        Flags::parse_from(["test", "--kafka-bootstrap", bootstrap]).kafka
    }
}
