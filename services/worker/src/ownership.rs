//! Which partitions this process owns, through the consumer group of the
//! commands topic; the commands in them; and how long ownership is certain.

mod decode;
mod definitions;
mod index;
mod lease;
mod member;
mod restore;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, mpsc as blocking},
};

use chassis::traces::TraceParent;
use tokio::sync::mpsc;

pub(crate) use decode::message_rules;
pub(crate) use decode::{Decoder, Undecodable};
pub(crate) use definitions::{KnownDefinitions, definitions};
#[cfg(test)]
pub(crate) use index::entry;
pub(crate) use index::{Indexes, ObjectScan, objects};
pub(crate) use lease::Lease;
pub(crate) use member::join;
pub(crate) use restore::{ClaimKeys, Restored, claims, restore};

/// What happens to this member, in order.
#[derive(Debug)]
pub(crate) enum Event {
    /// These partitions were assigned to this process.
    Assigned(Vec<Assignment>),
    /// All partitions were revoked. Answer once everything of them has stopped.
    Revoked(blocking::SyncSender<()>),
    /// A message of the commands topic.
    Command(CommandMessage),
    /// The commands of this partition were read to their end.
    End(i32),
    /// Membership ended for good, for this reason.
    Failed(String),
}

/// A partition that was assigned to this process.
#[derive(Debug, Clone)]
pub(crate) struct Assignment {
    /// Number of the control partition.
    pub(crate) partition: i32,
    /// Whether requests to HubSpot may start for it.
    pub(crate) lease: PartitionLease,
}

/// A message of the commands topic, not decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CommandMessage {
    /// Its partition.
    pub(crate) partition: i32,
    /// Its offset.
    pub(crate) offset: i64,
    /// Its key: the connection.
    pub(crate) key: Vec<u8>,
    /// Its value; `None` for a tombstone.
    pub(crate) payload: Option<Vec<u8>>,
    /// The span that wrote it.
    pub(crate) trace: Option<TraceParent>,
}

/// Whether requests to HubSpot may start for a partition: it was not revoked,
/// and membership of the group was confirmed a short time ago.
#[derive(Debug, Clone)]
pub(crate) struct PartitionLease {
    held: Arc<std::sync::atomic::AtomicBool>,
    membership: Lease,
}

impl PartitionLease {
    pub(crate) fn new(membership: Lease) -> Self {
        Self {
            held: Arc::new(std::sync::atomic::AtomicBool::new(true)),
            membership,
        }
    }

    /// Whether a request may start now.
    pub(crate) fn is_valid(&self) -> bool {
        self.held.load(std::sync::atomic::Ordering::SeqCst) && self.membership.is_fresh()
    }

    /// Whether the partition was not revoked.
    pub(crate) fn is_held(&self) -> bool {
        self.held.load(std::sync::atomic::Ordering::SeqCst)
    }

    /// Membership of the group.
    pub(crate) fn membership(&self) -> &Lease {
        &self.membership
    }

    /// Ends it for good.
    pub(crate) fn revoke(&self) {
        self.held.store(false, std::sync::atomic::Ordering::SeqCst);
    }
}

/// Leases of the partitions of this process. They end before anything else
/// happens in a rebalance.
#[derive(Debug, Clone, Default)]
pub(crate) struct PartitionLeases {
    by_partition: Arc<Mutex<HashMap<i32, PartitionLease>>>,
}

impl PartitionLeases {
    fn grant(&self, partition: i32, membership: &Lease) -> PartitionLease {
        let lease = PartitionLease::new(membership.clone());
        let mut leases = self
            .by_partition
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(old) = leases.insert(partition, lease.clone()) {
            old.revoke();
        }
        lease
    }

    fn revoke_all(&self) {
        let mut leases = self
            .by_partition
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for (_, lease) in leases.drain() {
            lease.revoke();
        }
    }
}

/// Logs an error of the client. The end of a partition is no error.
fn report(error: &rdkafka::error::KafkaError, reason: &str) {
    use rdkafka::error::{KafkaError, RDKafkaErrorCode};

    let is_end = matches!(error, KafkaError::PartitionEOF(_))
        || matches!(error, KafkaError::Global(RDKafkaErrorCode::PartitionEOF));
    if !is_end {
        tracing::warn!(%error, reason, "kafka client");
    }
}

/// The receiving end of the events.
pub(crate) type Events = mpsc::UnboundedReceiver<Event>;
