//! Rows that are stored together. They are read from their messages when needed:
//! decoded rows and their encoding need several times the memory, so they exist
//! for one piece at a time.

use schemas::CrmRecord;
use twox_hash::XxHash3_128;

use crate::ingest::{Row, StoreError, StoreErrorKind, decode::router::DecodedMessages};

/// Rows of one target.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'s> {
    decoded: &'s DecodedMessages,
    /// Indexes of their messages.
    indexes: &'s [usize],
}

impl<'s> Rows<'s> {
    pub(crate) fn new(decoded: &'s DecodedMessages, indexes: &'s [usize]) -> Self {
        Self { decoded, indexes }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.indexes.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.indexes.is_empty()
    }

    /// Reads the rows from their messages.
    ///
    /// # Errors
    ///
    /// Fails if a message that was decoded before cannot be decoded again.
    pub fn read(&self) -> Result<Vec<Row<'s>>, StoreError> {
        let rows: Vec<Row<'s>> = self
            .indexes
            .iter()
            .filter_map(|index| self.decoded.row(*index, CrmRecord::decode_again)?.ok())
            .collect();
        if rows.len() != self.indexes.len() {
            // INVARIANT: the router groups only messages that it has decoded.
            let context = "a row that was decoded before cannot be decoded again";
            return Err(StoreError::new(StoreErrorKind::Fatal, context));
        }
        Ok(rows)
    }

    /// Splits the rows into pieces of about `bytes` bytes. A row counts the bytes of
    /// its message plus `more`. The same rows give the same pieces.
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

    /// A hash of the rows and their log positions: equal only for the same rows
    /// from the same positions.
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
    fn only_the_same_rows_at_the_same_log_positions_have_the_same_token() {
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
        fn the_pieces_contain_each_row_once_and_none_is_too_large(
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
                // The last message may exceed the limit.
                let (_, before) = piece.indexes.split_last().unwrap();
                let size: usize = before.iter().map(|it| decoded.size(*it) + more).sum();
                prop_assert!(size < bytes);
                prop_assert_eq!(piece.read().unwrap().len(), piece.len());
            }
        }
    }
}
