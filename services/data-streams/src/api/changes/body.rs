//! A version of an object as the change log shows it.

use schemas::{CrmRecord, Properties};
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use super::super::{body::timestamp, records::PagingBody};
use crate::ingest::LoggedRecord;

/// A part of the change log.
// `page` writes it without this type, as it goes.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes the answer")]
pub(super) struct ChangesBody<'a> {
    /// In the order of the log: the versions of one object in theirs.
    results: Vec<ChangeBody<'a>>,
    /// Where the next page begins, also at the end of the log: there, a later request
    /// gets what was written meanwhile.
    paging: PagingBody,
    /// Whether this is the end of the log for now.
    at_end: bool,
}

/// A version of an object.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ChangeBody<'a> {
    /// Object type.
    #[schema(example = "contacts")]
    object_type: &'a str,
    /// HubSpot's id of the object, as a string.
    #[schema(example = "1001")]
    id: String,
    /// When HubSpot created it.
    #[schema(format = DateTime)]
    created_at: String,
    /// When it had last been modified in HubSpot.
    #[schema(format = DateTime)]
    updated_at: String,
    /// When the worker fetched it.
    #[schema(format = DateTime)]
    synced_at: String,
    /// Whether it was in HubSpot's recycle bin.
    archived: bool,
    /// Whether it was erased, merged into another one, or gone from HubSpot. It then has
    /// no properties.
    deleted: bool,
    /// The object that it was merged into.
    merged_into: Option<String>,
    /// All properties that were set, as HubSpot sent them.
    #[serde(serialize_with = "as_object")]
    #[schema(value_type = std::collections::BTreeMap<String, Option<String>>)]
    properties: Properties<'a>,
    /// Name of the connection that fetched it.
    connection: &'a str,
    /// The run that fetched it.
    #[schema(format = "uuid")]
    run_id: &'a str,
    /// Why that run was made.
    #[schema(example = "incremental")]
    reason: &'a str,
    /// Topic in Kafka.
    topic: &'a str,
    /// Partition of the topic.
    #[schema(minimum = 0)]
    partition: i32,
    /// Offset in the partition.
    #[schema(minimum = 0)]
    offset: i64,
    /// The parameter `after` for what follows; opaque.
    after: String,
}

impl<'a> ChangeBody<'a> {
    pub(super) fn new(
        record: &CrmRecord<'a, Properties<'a>>,
        topic: &'a str,
        place: &LoggedRecord,
        after: String,
    ) -> Self {
        Self {
            object_type: record.object_type,
            id: record.object_id.to_string(),
            created_at: timestamp(record.created_at),
            updated_at: timestamp(record.updated_at),
            synced_at: timestamp(record.fetched_at),
            archived: record.archived,
            deleted: record.deleted,
            merged_into: record.merged_into.map(|it| it.to_string()),
            properties: record.properties,
            connection: record.connection,
            run_id: record.run_id,
            reason: record.reason,
            topic,
            partition: place.partition,
            offset: place.offset,
            after,
        }
    }
}

fn as_object<S: Serializer>(properties: &Properties<'_>, out: S) -> Result<S::Ok, S::Error> {
    out.collect_map(properties.iter())
}
