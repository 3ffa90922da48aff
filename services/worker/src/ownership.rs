//! Which partitions this process owns, by membership of the consumer group of
//! the commands topic; the commands in them; and the lease.
//!
//! It must not know what a command asks for.

mod decode;
mod lease;
mod member;
mod restore;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, mpsc as blocking},
};

use tokio::sync::mpsc;

pub use decode::{Decoder, Undecodable};
pub(crate) use decode::message_rules;
pub use lease::Lease;
pub use member::join;
pub use restore::{ClaimKeys, Restored, claims, restore};

/// What happens to this member, in order.
#[derive(Debug)]
pub enum Event {
    /// These partitions are ours from now on.
    Assigned(Vec<Assignment>),
    /// All partitions are to be let go; answer when nothing of them is left.
    Revoked(blocking::SyncSender<()>),
    /// A message of the commands topic.
    Command(CommandMessage),
    /// The partition's commands are read to their end.
    End(i32),
    /// Membership cannot go on.
    Failed(String),
}

/// A partition that became ours.
#[derive(Debug, Clone)]
pub struct Assignment {
    /// Number of the control partition.
    pub partition: i32,
    /// Whether requests to HubSpot may start for it.
    pub lease: PartitionLease,
}

/// A message of the commands topic as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandMessage {
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Its key: the connection.
    pub key: Vec<u8>,
    /// Its value; `None` for a tombstone.
    pub payload: Option<Vec<u8>>,
}

/// Whether requests to HubSpot may start: the partition has not been let go,
/// and the lease is fresh.
#[derive(Debug, Clone)]
pub struct PartitionLease {
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
    pub fn is_valid(&self) -> bool {
        self.held.load(std::sync::atomic::Ordering::SeqCst) && self.membership.is_fresh()
    }

    /// Whether the partition is still ours, as far as we were told.
    pub fn is_held(&self) -> bool {
        self.held.load(std::sync::atomic::Ordering::SeqCst)
    }

    /// The lease that it looks at.
    pub fn membership(&self) -> &Lease {
        &self.membership
    }

    /// Closes it for ever.
    pub fn revoke(&self) {
        self.held.store(false, std::sync::atomic::Ordering::SeqCst);
    }
}

/// PartitionLeases of the partitions that are ours, closed before anything else happens
/// when they are revoked.
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

/// Logs what the client says of itself. The end of a partition is no error.
fn report(error: &rdkafka::error::KafkaError, reason: &str) {
    use rdkafka::error::{KafkaError, RDKafkaErrorCode};

    let is_end = matches!(error, KafkaError::PartitionEOF(_))
        || matches!(error, KafkaError::Global(RDKafkaErrorCode::PartitionEOF));
    if !is_end {
        tracing::warn!(%error, reason, "kafka client");
    }
}

/// Events on their way to the one who acts on them.
pub type Events = mpsc::UnboundedReceiver<Event>;
