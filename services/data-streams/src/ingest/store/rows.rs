//! Rows that are stored together, read from their messages as often as asked.
//!
//! Only messages stay in memory for long: decoded rows and their encoding are
//! several times as large, and made for a piece at a time. It must not know how
//! a row is encoded.

use schemas::CrmRecord;
use twox_hash::XxHash3_128;

use crate::ingest::{Row, StoreError, StoreErrorKind, decode::router::DecodedMessages};

/// Rows of one target.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'s> {
    decoded: &'s DecodedMessages,
    /// Indexes into the source.
    indexes: &'s [usize],
}

impl<'s> Rows<'s> {
    pub(crate) fn new(decoded: &'s DecodedMessages, indexes: &'s [usize]) -> Self {
        Self { decoded, indexes }
    }

    /// How many they are.
    pub fn len(&self) -> usize {
        self.indexes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.indexes.is_empty()
    }

    /// Reads them.
    ///
    /// # Errors
    ///
    /// When a row is not what was decoded before.
    pub fn read(&self) -> Result<Vec<Row<'s>>, StoreError> {
        let rows: Vec<Row<'s>> = self
            .indexes
            .iter()
            .filter_map(|index| self.decoded.row(*index, CrmRecord::decode_again)?.ok())
            .collect();
        if rows.len() != self.indexes.len() {
            // INVARIANT: only rows that were decoded before are put together.
            let context = "a row that was decoded before is not decodable";
            return Err(StoreError::new(StoreErrorKind::Fatal, context));
        }
        Ok(rows)
    }

    /// The same rows in pieces of about so many bytes, each row as large as its
    /// message and so many more; the same rows give the same pieces.
    pub fn pieces(self, bytes: usize, more: usize) -> impl Iterator<Item = Rows<'s>> {
        let mut left = self.indexes;
        std::iter::from_fn(move || {
            let mut size = 0;
            let sizes = left.iter().map(|index| self.decoded.size(*index) + more);
            let whole = sizes
                .take_while(|row| {
                    let fits = size < bytes;
                    size += row;
                    fits
                })
                .count();
            let (indexes, rest) = left.split_at_checked(whole)?;
            left = rest;
            (!indexes.is_empty()).then_some(Self { indexes, ..self })
        })
    }

    /// What the same rows from the same places in the log, and no others, have.
    pub fn token(&self) -> String {
        let mut hash = XxHash3_128::new();
        hash.write(&self.decoded.topic.len().to_le_bytes());
        hash.write(self.decoded.topic.as_bytes());
        for message in self
            .indexes
            .iter()
            .filter_map(|it| self.decoded.messages.get(*it))
        {
            let value = message.value.as_deref().unwrap_or_default();
            hash.write(&message.partition.to_le_bytes());
            hash.write(&message.offset.to_le_bytes());
            hash.write(&value.len().to_le_bytes());
            hash.write(value);
        }
        format!("{:032x}", hash.finish_128())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ingest::{
        TableSet,
        decode::{
            decoders::Decoders,
            router::{TargetRouter, WaitLimits},
        },
        fakes::{FakeControlState, FakeRegistry, OWN, record},
        poll::message::Message,
    };

    fn decoded(messages: Vec<Message>) -> DecodedMessages {
        let decoders = Decoders::new(std::sync::Arc::new(FakeRegistry::default()), OWN);
        let control = std::sync::Arc::new(FakeControlState);
        let mut router =
            TargetRouter::new(decoders, control, TableSet::Live, WaitLimits::default());
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let routed = runtime.unwrap().block_on(router.route("records", messages));
        routed.decoded
    }

    fn records(count: usize) -> Vec<Message> {
        (0..count)
            .map(|at| record(i64::try_from(at).unwrap(), OWN))
            .collect()
    }

    #[test]
    fn only_the_same_rows_from_the_same_place_have_the_same_token() {
        let decoded = decoded(records(3));
        let token = |indexes: &[usize]| Rows::new(&decoded, indexes).token();
        assert_eq!(token(&[0, 1]), token(&[0, 1]));
        assert_ne!(token(&[0, 1]), token(&[0, 2]));
        assert_ne!(token(&[0, 1]), token(&[0]));
        let mut moved = records(2);
        for message in &mut moved {
            message.partition = 1;
        }
        let moved = self::decoded(moved);
        assert_ne!(token(&[0, 1]), Rows::new(&moved, &[0, 1]).token());
        let mut later = records(3);
        later[1].value = later[2].value.clone();
        let later = self::decoded(later);
        let token = |indexes: &[usize]| Rows::new(&later, indexes).token();
        assert_ne!(token(&[0, 1]), token(&[0, 2]));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn the_pieces_are_the_rows_each_of_them_once_and_none_too_large(
            count in 0..40usize,
            bytes in 1..2_000usize,
            more in 0..500usize,
        ) {
            let decoded = decoded(records(count));
            let indexes: Vec<usize> = (0..count).collect();
            let rows = Rows::new(&decoded, &indexes);
            let pieces: Vec<_> = rows.pieces(bytes, more).collect();
            let together: Vec<usize> =
                pieces.iter().flat_map(|it| it.indexes.iter().copied()).collect();
            prop_assert_eq!(&together, &indexes);
            for piece in pieces {
                prop_assert!(!piece.is_empty());
                // A piece ends with the message that fills it.
                let (_, before) = piece.indexes.split_last().unwrap();
                let size: usize = before.iter().map(|it| decoded.size(*it) + more).sum();
                prop_assert!(size < bytes);
                prop_assert_eq!(piece.read().unwrap().len(), piece.len());
            }
        }
    }
}
