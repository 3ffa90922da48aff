//! A JSON scanner for objects, which are nearly all of an answer. It finds the end of
//! a string eight bytes at a time and borrows it; serde parses everything else.

use std::borrow::Cow;

use serde::Deserialize;

/// The byte at which the text is not the expected JSON, counted from its start.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unexpected(pub(super) usize);

type Result<T> = std::result::Result<T, Unexpected>;

/// A position in a text.
#[derive(Debug)]
pub(super) struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    /// Starts at the beginning of the text.
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    /// Bytes to the end of the text.
    pub(super) fn left(&self) -> usize {
        self.rest().len()
    }

    /// Skips white space and returns the next byte without consuming it.
    pub(super) fn peek(&mut self) -> Option<u8> {
        loop {
            match self.rest().first() {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.at += 1,
                other => return other.copied(),
            }
        }
    }

    /// Consumes a byte, if it is the next one.
    pub(super) fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// Consumes a text, if it comes next exactly.
    #[inline]
    pub(super) fn take_exactly(&mut self, text: &[u8]) -> bool {
        let found = self.rest().starts_with(text);
        if found {
            self.at += text.len();
        }
        found
    }

    /// Consumes a byte; fails if another one comes next.
    pub(super) fn require(&mut self, byte: u8) -> Result<()> {
        if self.take(byte) {
            Ok(())
        } else {
            Err(self.unexpected())
        }
    }

    /// Fails unless the text ends here.
    pub(super) fn end(&mut self) -> Result<()> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.unexpected()),
        }
    }

    /// The error for this position.
    pub(super) fn unexpected(&self) -> Unexpected {
        Unexpected(self.at)
    }

    /// Calls `member` with the name of each member of an object; it has to consume
    /// the value.
    pub(super) fn members(
        &mut self,
        mut member: impl FnMut(&mut Self, &str) -> Result<()>,
    ) -> Result<()> {
        self.require(b'{')?;
        if self.take(b'}') {
            return Ok(());
        }
        loop {
            let name = self.string()?;
            self.require(b':')?;
            member(self, &name)?;
            if !self.take(b',') {
                return self.require(b'}');
            }
        }
    }

    /// Calls `element` for each element of an array; it has to consume it.
    pub(super) fn elements(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<()>,
    ) -> Result<()> {
        self.require(b'[')?;
        if self.take(b']') {
            return Ok(());
        }
        loop {
            element(self)?;
            if !self.take(b',') {
                return self.require(b']');
            }
        }
    }

    /// Parses a string, borrowed unless it has escapes.
    #[inline]
    pub(super) fn string(&mut self) -> Result<Cow<'a, str>> {
        self.require(b'"')?;
        let start = self.at;
        let rest = self.rest();
        let length = plain_length(rest);
        match rest.get(length) {
            Some(b'"') => {
                self.at = start + length + 1;
                let text = self.text.get(start..start + length);
                text.map(Cow::Borrowed).ok_or(Unexpected(start))
            }
            Some(b'\\') => {
                self.at = start - 1;
                self.value::<String>().map(Cow::Owned)
            }
            _ => Err(Unexpected(start + length)),
        }
    }

    /// Parses any value with serde.
    pub(super) fn value<T: Deserialize<'a>>(&mut self) -> Result<T> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<T>();
        match values.next() {
            Some(Ok(value)) => {
                self.at += values.byte_offset();
                Ok(value)
            }
            Some(Err(_)) | None => Err(self.unexpected()),
        }
    }
}

/// The number of bytes before a quote, a backslash, or a control character, which a
/// string may not have unescaped.
#[inline]
fn plain_length(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 0xff;
    const HIGH: u64 = ONES << 7;
    // A byte is zero if subtracting one borrows and its high bit is not set.
    // Borrows go upwards, so the lowest match is right, and only that is used.
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word;
    let (words, tail) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let control = word.wrapping_sub(ONES * 0x20) & !word;
        let quote = zeros(word ^ (ONES * u64::from(b'"')));
        let escape = zeros(word ^ (ONES * u64::from(b'\\')));
        let found = (control | quote | escape) & HIGH;
        if found != 0 {
            return index * 8 + found.trailing_zeros() as usize / 8;
        }
    }
    let plain = |byte: &&u8| !matches!(**byte, b'"' | b'\\' | 0..0x20);
    words.len() * 8 + tail.iter().take_while(plain).count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::de::IgnoredAny;

    use super::*;

    /// All strings of an array, by the scanner.
    fn strings(text: &str) -> Result<Vec<String>> {
        let mut scanner = Scanner::new(text);
        let mut all = Vec::new();
        scanner.elements(|scanner| {
            all.push(scanner.string()?.into_owned());
            Ok(())
        })?;
        scanner.end()?;
        Ok(all)
    }

    #[test]
    fn invalid_json_is_refused_with_its_position() {
        assert_eq!(strings("[\"a\" , \"b\"]"), Ok(vec!["a".into(), "b".into()]));
        assert_eq!(strings("[]"), Ok(Vec::new()));
        assert_eq!(strings(r#"["a","#), Err(Unexpected(5)));
        assert_eq!(strings(r#"["a",]"#), Err(Unexpected(5)));
        assert_eq!(strings("[\"a\tb\"]"), Err(Unexpected(3)));
        assert_eq!(strings(r#"["a"]x"#), Err(Unexpected(5)));
        assert_eq!(strings(r#"["a""#), Err(Unexpected(4)));
    }

    #[test]
    fn members_are_visited_in_their_order() {
        let mut scanner = Scanner::new(r#" { "a" : [1,{"b":"}"}] , "c" : "d" } "#);
        let mut names = Vec::new();
        let walked = scanner.members(|scanner, name| {
            names.push(name.to_owned());
            scanner.value::<IgnoredAny>().map(drop)
        });
        assert_eq!(walked, Ok(()));
        assert_eq!(scanner.end(), Ok(()));
        assert_eq!(names, ["a", "c"]);
    }

    proptest! {
        #[test]
        fn strings_are_parsed_as_by_serde(all in prop::collection::vec(any::<String>(), 0..5)) {
            let text = serde_json::to_string(&all).unwrap();
            prop_assert_eq!(strings(&text), Ok(all));
        }

        #[test]
        fn any_text_is_accepted_or_refused_as_by_serde(text in r#"[\["][\PC"\\\x00-\x22]{0,20}"?\]?"#) {
            let expected: Option<Vec<String>> = serde_json::from_str(&text).ok();
            prop_assert_eq!(strings(&text).ok(), expected);
        }

        #[test]
        fn the_plain_length_equals_that_of_a_byte_by_byte_search(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let slow = bytes.iter().position(|it| *it == b'"' || *it == b'\\' || *it < 0x20);
            prop_assert_eq!(plain_length(&bytes), slow.unwrap_or(bytes.len()));
        }
    }
}
