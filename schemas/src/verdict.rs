//! What the log has of a stream after a pass over both lists, as a digest that any copy
//! of the log can be compared with.
//!
//! The digest of a range of ids is the sum, modulo 2^64, of the digests of its objects
//! that are not deleted. In ClickHouse, by object, it is
//! `xxh3(concat(reinterpretAsFixedString(_object_id), reinterpretAsFixedString(_content_hash)))`.

use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_64;

use crate::{Millis, checkpoint::stream_key};

/// How many objects, live and archived, the worker puts into one range.
pub const OBJECTS_PER_RANGE: usize = 4_096;

/// What the log has of a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Object type.
    pub stream: String,
    /// HubSpot's id of the account.
    pub portal_id: i64,
    /// The pass.
    pub run_id: String,
    /// `backfill` or `full`.
    pub reason: String,
    /// The one-time request that the pass carried out.
    #[serde(default)]
    pub request_id: Option<String>,
    /// HubSpot's time of its first request.
    pub started_at: Millis,
    /// HubSpot's time when the objects that seemed to be gone were decided.
    pub finished_at: Millis,
    /// The digest is of the versions up to this fetch sequence.
    pub fetch_sequence: i64,
    /// Live objects.
    pub objects: i64,
    /// Records that the pass wrote, without deletions.
    pub changed: i64,
    /// Objects that it found to be gone and that were then deleted.
    pub deleted: i64,
    /// Objects that HubSpot did not give even alone.
    pub unreadable: i64,
    /// In the order of ids; the first begins at the lowest id.
    pub ranges: Vec<DigestRange>,
}

/// The objects in a range of ids.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DigestRange {
    /// The range ends before the next one's first id; the last has no end.
    pub first_id: i64,
    /// Live and archived objects in it.
    pub objects: i64,
    /// The sum of their digests; the bits of a `u64`.
    pub digest: i64,
}

impl DigestRange {
    /// Adds an object.
    pub fn add(&mut self, object_id: i64, content_hash: u64) {
        self.objects += 1;
        let digest = object_digest(object_id, content_hash).cast_signed();
        self.digest = self.digest.wrapping_add(digest);
    }
}

/// The digest of one object: xxh3-64 of its id and its content hash, which says as well
/// whether it is archived; both are 8 bytes, little-endian.
pub fn object_digest(object_id: i64, content_hash: u64) -> u64 {
    let mut bytes = [0; 16];
    let (id, hash) = bytes.split_at_mut(8);
    id.copy_from_slice(&object_id.to_le_bytes());
    hash.copy_from_slice(&content_hash.to_le_bytes());
    XxHash3_64::oneshot(&bytes)
}

/// Key of a stream's verdict: `{connection}/{stream}/verdict`.
pub fn verdict_key(connection: &str, stream: &str) -> String {
    format!("{}/verdict", stream_key(connection, stream))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_does_not_depend_on_the_order_of_objects() {
        let (mut a, mut b) = (DigestRange::default(), DigestRange::default());
        a.add(1, 10);
        a.add(2, 20);
        b.add(2, 20);
        b.add(1, 10);
        assert_eq!(a, b);
        let mut swapped = DigestRange::default();
        swapped.add(1, 20);
        swapped.add(2, 10);
        assert_ne!(a, swapped);
    }
}
