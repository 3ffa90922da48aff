//! The place in the log up to which a caller has read.

use std::collections::BTreeMap;

use crate::ingest::LoggedRecord;

/// Maximum length of a cursor: that of 1,000 partitions.
const MAX_LENGTH: usize = 19_002;

/// By partition, the offset of the next message. The beginning of the log where there is
/// none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Cursor(BTreeMap<i32, i64>);

impl From<BTreeMap<i32, i64>> for Cursor {
    fn from(offsets: BTreeMap<i32, i64>) -> Self {
        Self(offsets)
    }
}

impl Cursor {
    /// Reads what [`Self::token`] has written.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let offsets = text
            .strip_prefix("c1")
            .filter(|_| text.len() <= MAX_LENGTH)?;
        if offsets.is_empty() {
            return Some(Self::default());
        }
        let offset = |text: &str| {
            let is_number = text.bytes().all(|it| it.is_ascii_digit()) && text.len() <= 18;
            text.parse::<i64>().ok().filter(|_| is_number)
        };
        let offsets = offsets.strip_prefix('_')?.split('_').map(offset);
        (0..)
            .zip(offsets)
            .map(|(at, it)| Some((at, it?)))
            .collect::<Option<_>>()
            .map(Self)
    }

    /// Opaque to callers; `c1` is its version.
    pub(super) fn token(&self) -> String {
        use std::fmt::Write as _;
        let mut token = "c1".to_owned();
        let partitions = self.0.last_key_value().map_or(0, |(last, _)| last + 1);
        for partition in 0..partitions {
            let offset = self.0.get(&partition).unwrap_or(&0);
            // Writing to a string cannot fail.
            write!(token, "_{offset}").unwrap_or_default();
        }
        token
    }

    /// The record has been read; the token of the place after it.
    pub(super) fn pass(&mut self, record: &LoggedRecord) -> String {
        self.0.insert(record.partition, record.offset + 1);
        self.token()
    }

    /// By partition, the offset of the next message.
    pub(super) fn offsets(&self) -> &BTreeMap<i32, i64> {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_token_names_the_place_that_it_was_made_from(
            offsets in prop::collection::vec(0_i64..1_000_000_000_000_000_000, 0..40),
        ) {
            let cursor = Cursor::from((0..).zip(offsets).collect::<BTreeMap<_, _>>());
            prop_assert_eq!(Cursor::parse(&cursor.token()), Some(cursor));
        }

        #[test]
        fn any_other_text_is_refused(text in "(c1)?[_0-9a-z+-]{0,30}") {
            if let Some(cursor) = Cursor::parse(&text) {
                let numbers = |text: &str| -> Vec<u128> {
                    text.split('_').skip(1).map(|it| it.parse().unwrap()).collect()
                };
                prop_assert_eq!(numbers(&cursor.token()), numbers(&text));
            }
        }
    }

    #[test]
    fn a_record_that_was_passed_is_not_read_again() {
        let mut cursor = Cursor::parse("c1_5").unwrap();
        let after = cursor.pass(&LoggedRecord {
            partition: 2,
            offset: 7,
            datum: Bytes::new(),
        });
        assert_eq!(after, "c1_5_0_8");
        assert_eq!(cursor.token(), after);
        for wrong in [
            "",
            "c1_",
            "c1__",
            "c15",
            "c1_-1",
            "c1_+1",
            "k1",
            "c1_9999999999999999999",
        ] {
            assert_eq!(Cursor::parse(wrong), None, "{wrong}");
        }
    }
}
