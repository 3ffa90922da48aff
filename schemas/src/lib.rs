//! The contract between the services, and with all others who read the topics:
//! names, keys, messages and their encoding.
//!
//! It must not know sockets, runtimes or the services.
//!
//! | Topic | Key | Value | Cleanup |
//! |---|---|---|---|
//! | `commands` | connection | [`Command`] | compact |
//! | `records` | portal/object type/object id | [`CrmRecord`] | compact, lag 7 days |
//! | `checkpoints` | connection/stream | [`Checkpoint`] | compact |
//! | `status` | connection, connection/stream, or connection/stream/verdict | [`Status`] | compact |
//! | `definitions` | portal/object type | [`Definitions`] | compact |
//! | `index` | connection/stream/ids | [`IndexEntries`] | compact |
//! | `dead-letters` | as the source | the original bytes | delete, 30 days |

pub mod associations;
pub mod checkpoint;
pub mod codec;
pub mod command;
pub mod content_hash;
pub mod crm_record;
pub mod definitions;
pub mod index;
pub mod lineage;
mod partition;
mod property_map;
pub mod status;
mod topics;
pub mod verdict;

#[cfg(test)]
mod compatibility;
#[cfg(test)]
mod examples;

pub use associations::{ASSOCIATIONS, AssociatedTypes, Association};
pub use checkpoint::{Checkpoint, ClosedPass, Lack, Lane, ListPosition, Run, SearchPosition};
pub use codec::{DecodeError, EncodeError, Framed, frame, unframe};
pub use command::{
    Command, ConfirmedDeletions, DesiredState, KeyedRequest, NEEDED_PROPERTIES, PropertySelection,
    ReconcileIntervals, Request, RequestKind, default_destination,
};
pub use content_hash::{ContentHasher, deletion_hash};
pub use crm_record::{CrmRecord, record_key, version};
pub use definitions::{Definitions, Property};
pub use index::{IndexEntries, IndexKey};
pub use partition::partition_for;
pub use property_map::{Properties, PropertyMap, PropertyMapBuilder, PropertyName};
pub use status::{
    Budget, CheckStatus, CheckedCapability, CheckedStream, ConnectionStatus, DayUse, Problem,
    RunStatus, Status, StreamStatus, WindowUse,
};
pub use topics::{Topic, Topics, subject};
pub use verdict::{DigestRange, Verdict, object_digest};

/// A point in time, in ms since 1970-01-01T00:00:00Z.
pub type Millis = i64;
