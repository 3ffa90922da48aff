//! A digest of objects, by which the truth is compared with log and warehouse.

use std::{fmt, hash::Hasher as _};

use siphasher::sip::SipHasher13;

/// The hash of one object: of the line `id|updated_at_ms|archived` (0 or 1)
/// followed by `|name=value` for each set property, sorted by name.
///
/// A value of `""` counts as unset. `hs_object_id` and HubSpot's times of creation
/// and change are properties like all others.
pub fn object_hash<'a>(
    id: u64,
    updated_at_ms: i64,
    archived: bool,
    properties: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> u64 {
    let mut set: Vec<(&str, &str)> = properties
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .collect();
    set.sort_unstable();
    let mut hasher = SipHasher13::new_with_keys(0, 0);
    let mut buffer = itoa::Buffer::new();
    hasher.write(buffer.format(id).as_bytes());
    hasher.write(b"|");
    hasher.write(buffer.format(updated_at_ms).as_bytes());
    hasher.write(if archived { b"|1" } else { b"|0" });
    for (name, value) in set {
        hasher.write(b"|");
        hasher.write(name.as_bytes());
        hasher.write(b"=");
        hasher.write(value.as_bytes());
    }
    hasher.finish()
}

/// The wrapping sum of the hashes of a set of objects, in any order.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(pub u64);

impl Digest {
    /// Adds an object.
    pub fn add(&mut self, object_hash: u64) {
        self.0 = self.0.wrapping_add(object_hash);
    }
}

impl FromIterator<u64> for Digest {
    fn from_iter<I: IntoIterator<Item = u64>>(hashes: I) -> Self {
        let mut digest = Self::default();
        for hash in hashes {
            digest.add(hash);
        }
        digest
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_empty_values_do_not_matter() {
        let one = object_hash(7, 5, false, [("b", "2"), ("a", "1"), ("c", "")]);
        let other = object_hash(7, 5, false, [("a", "1"), ("b", "2")]);
        assert_eq!(one, other);
        assert_eq!(Digest::from_iter([1, 2]), Digest::from_iter([2, 1]));
    }

    #[test]
    fn each_part_of_the_line_matters() {
        let base = object_hash(7, 5, false, [("a", "1")]);
        assert_ne!(base, object_hash(8, 5, false, [("a", "1")]));
        assert_ne!(base, object_hash(7, 6, false, [("a", "1")]));
        assert_ne!(base, object_hash(7, 5, true, [("a", "1")]));
        assert_ne!(base, object_hash(7, 5, false, [("a", "2")]));
    }

    #[test]
    fn the_hash_is_that_of_the_documented_line() {
        let mut hasher = SipHasher13::new_with_keys(0, 0);
        hasher.write(b"7|5|1|a=1|b=2");
        assert_eq!(
            object_hash(7, 5, true, [("b", "2"), ("a", "1")]),
            hasher.finish()
        );
    }
}
