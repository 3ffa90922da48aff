//! Reads topics as any consumer would: committed records only, in the order of
//! their offsets.

use std::collections::{BTreeMap, HashMap, HashSet, hash_map::Entry};

use rdkafka::{
    ClientConfig, Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
};
use schemas::{CrmRecord, crm_record::Decoder, unframe};

use crate::{HANG_LIMIT, check, servers::KafkaAndRegistry};

/// One record of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Partition and offset.
    pub at: (i32, i64),
    /// Its key.
    pub key: String,
    /// When Kafka appended it, in ms since 1970.
    pub written_at: i64,
    /// HubSpot's id of the account.
    pub portal_id: i64,
    /// Run that fetched it.
    pub run_id: String,
    /// Why that run was started.
    pub reason: String,
    /// Object type.
    pub object_type: String,
    /// Object id.
    pub object_id: i64,
    /// Last-modified, in ms since 1970.
    pub updated_at: i64,
    /// In the recycle bin.
    pub archived: bool,
    /// Erased, merged away or gone.
    pub deleted: bool,
    /// Version by the rule of the contract: last-modified, then fetch sequence.
    pub version: u128,
    /// Orders the reads of one object.
    pub fetch_sequence: i64,
    /// The same content has the same; 0 in records of a former version.
    pub content_hash: u64,
    /// Properties that are set.
    pub properties: BTreeMap<String, String>,
}

/// All committed records of one topic.
#[derive(Debug, Clone, Default)]
pub struct RecordLog {
    /// By partition, then offset.
    pub records: Vec<Record>,
}

impl RecordLog {
    /// Reads a topic to its end.
    pub async fn read(servers: &KafkaAndRegistry, topic: &str) -> Self {
        Self::decode(servers, read_topic(servers, topic).await).await
    }

    /// Reads a topic to its end, without the messages that have no Confluent framing:
    /// for topics to which a test wrote such messages.
    pub async fn read_framed(servers: &KafkaAndRegistry, topic: &str) -> Self {
        let mut messages = read_topic(servers, topic).await;
        messages.retain(|it| it.value.as_deref().is_some_and(|it| unframe(it).is_ok()));
        Self::decode(servers, messages).await
    }

    async fn decode(servers: &KafkaAndRegistry, messages: Vec<Message>) -> Self {
        let mut decoders: HashMap<u32, Decoder> = HashMap::new();
        let mut records = Vec::new();
        for message in messages {
            let Message {
                at,
                key,
                written_at,
                ..
            } = message;
            let value = message.value.unwrap_or_default();
            let framed = unframe(&value).unwrap();
            let decoder = match decoders.entry(framed.schema_id) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => {
                    let schema = registered_schema(servers, framed.schema_id).await;
                    new.insert(Decoder::new(&schema).unwrap())
                }
            };
            let translated = decoder.translate(framed.datum).unwrap();
            let record = CrmRecord::decode(translated.as_deref().unwrap_or(framed.datum)).unwrap();
            records.push(Record {
                at,
                key,
                written_at,
                portal_id: record.portal_id,
                run_id: record.run_id.to_owned(),
                object_type: record.object_type.to_owned(),
                reason: record.reason.to_owned(),
                object_id: record.object_id,
                updated_at: record.updated_at,
                archived: record.archived,
                deleted: record.deleted,
                version: record.version(),
                fetch_sequence: record.fetch_sequence,
                content_hash: record.content_hash.cast_unsigned(),
                properties: record
                    .properties
                    .iter()
                    .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
                    .collect(),
            });
        }
        Self { records }
    }

    /// Panics if a run wrote a version of an object twice, or if an older version
    /// of an object follows a newer one.
    pub fn assert_exactly_once(&self) {
        check::assert_no_violations(&check::no_duplicates(self));
        check::assert_no_violations(&check::in_order(self));
    }

    /// The last record of each object of a portal's type: what compaction leaves.
    pub fn last_of(&self, portal_id: u64, object_type: &str) -> BTreeMap<i64, &Record> {
        let of_type = self
            .records
            .iter()
            .filter(|it| it.object_type == object_type && it.portal_id == portal_id.cast_signed());
        // All records of an object are in one partition, and here in their order.
        of_type.map(|it| (it.object_id, it)).collect()
    }
}

async fn registered_schema(servers: &KafkaAndRegistry, id: u32) -> String {
    let url = format!("{}/schemas/ids/{id}", servers.registry_url());
    let answer: serde_json::Value = crate::api::client()
        .get(url)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    answer["schema"]
        .as_str()
        .expect("the registry knows the id")
        .to_owned()
}

/// A message of a topic.
#[derive(Debug, Clone)]
pub struct Message {
    /// Partition and offset.
    pub at: (i32, i64),
    /// Its key.
    pub key: String,
    /// Its timestamp, in ms since 1970.
    pub written_at: i64,
    /// `None` for a tombstone.
    pub value: Option<Vec<u8>>,
}

/// All committed messages of a topic, by partition, then offset.
pub async fn read_topic(servers: &KafkaAndRegistry, topic: &str) -> Vec<Message> {
    let (bootstrap, topic) = (servers.bootstrap(), topic.to_owned());
    tokio::task::spawn_blocking(move || read_to_end(&bootstrap, &topic))
        .await
        .unwrap()
}

fn read_to_end(bootstrap: &str, topic: &str) -> Vec<Message> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "harness")
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .create()
        .unwrap();
    let metadata = consumer.fetch_metadata(Some(topic), HANG_LIMIT).unwrap();
    let partitions: Vec<_> = metadata.topics()[0]
        .partitions()
        .iter()
        .map(rdkafka::metadata::MetadataPartition::id)
        .collect();
    let mut assignment = TopicPartitionList::new();
    for partition in &partitions {
        assignment
            .add_partition_offset(topic, *partition, Offset::Beginning)
            .unwrap();
    }
    consumer.assign(&assignment).unwrap();
    // The end of a partition is reported again after further messages.
    let mut open: HashSet<_> = partitions.into_iter().collect();
    let mut messages = Vec::new();
    while !open.is_empty() {
        match consumer
            .poll(HANG_LIMIT)
            .expect("a message or the end of a partition")
        {
            Ok(message) => messages.push(Message {
                at: (message.partition(), message.offset()),
                key: String::from_utf8_lossy(message.key().unwrap_or_default()).into_owned(),
                written_at: message.timestamp().to_millis().unwrap_or_default(),
                value: message.payload().map(<[u8]>::to_vec),
            }),
            Err(KafkaError::PartitionEOF(partition)) => {
                open.remove(&partition);
            }
            Err(error) => panic!("{error}"),
        }
    }
    messages.sort_by_key(|message| message.at);
    messages
}
