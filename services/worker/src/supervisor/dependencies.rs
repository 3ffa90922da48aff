//! What the supervisor is given: the edges to HubSpot and to Kafka, which a
//! test replaces, and what all connections share.

use std::{collections::HashSet, fmt, future::Future, sync::Arc};

use super::{SharedReads, command_traces::CommandTraces};
use crate::{
    commit::{CommitContext, TransactionalLog},
    index::StreamIndex,
    ownership::{ClaimKeys, Decoder, KnownDefinitions, ObjectScan, PartitionLease, Restored},
    schedule::Settings,
    sync::{Source, SourceError},
};

/// Where sources come from.
pub(crate) trait Sources: Send + Sync + 'static {
    /// A source.
    type Source: Source;

    /// The source that the reference to a connection's credential leads to. It starts no request
    /// unless the lease is valid.
    fn connect(
        &self,
        connection: &str,
        credential: &str,
        lease: PartitionLease,
    ) -> impl Future<Output = Result<Self::Source, SourceError>> + Send;
}

/// The log of the control topics and of the records. Every call blocks.
pub(crate) trait ControlLog: fmt::Debug + Send + Sync + 'static {
    /// Fences every other writer of a partition and opens its transactional
    /// log.
    fn fence(&self, partition: i32) -> anyhow::Result<Box<dyn TransactionalLog>>;

    /// Reads checkpoints, status and index of the partitions, and all definitions, to
    /// their end.
    fn restore(&self, partitions: &[i32]) -> anyhow::Result<Restored>;

    /// The connections that claim, in the order of the log, for each of the
    /// keys asked for.
    fn claims(&self, asked: &[ClaimKeys]) -> anyhow::Result<Vec<Vec<String>>>;

    /// The definitions under these keys, with all that was committed before.
    fn definitions(&self, keys: &HashSet<String>) -> anyhow::Result<KnownDefinitions>;

    /// What the records topic has of these object types.
    fn objects(&self, asked: &[ObjectScan]) -> anyhow::Result<Vec<StreamIndex>>;
}

/// What every connection needs.
#[derive(Debug)]
pub(crate) struct Dependencies<S> {
    /// Where sources come from.
    pub(crate) sources: S,
    /// Where everything is written, and read at the start.
    pub(crate) log: Box<dyn ControlLog>,
    /// Partitions of the control topics.
    pub(crate) control_partitions: i32,
    /// Name of this process, in the status and to Kafka.
    pub(crate) worker: String,
    /// What the commits of all partitions share.
    pub(crate) commits: Arc<CommitContext>,
    /// Decodes commands.
    pub(crate) decoder: Arc<Decoder>,
    /// Reads which connection has which portal.
    pub(crate) claims: SharedReads<ClaimKeys, Vec<String>>,
    /// Reads the definitions under some keys.
    pub(crate) definitions: SharedReads<Vec<String>, Arc<KnownDefinitions>>,
    /// Reads what the log has of a portal.
    pub(crate) objects: SharedReads<ObjectScan, StreamIndex>,
    /// How often the runs beside the interval are made, and how they read.
    pub(crate) settings: Settings,
    /// The traces of commands.
    pub(crate) traces: Arc<CommandTraces>,
    /// Clock, health, and the end of the process.
    pub(crate) context: chassis::Context,
}
