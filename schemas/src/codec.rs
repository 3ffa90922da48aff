//! Avro in Confluent framing: a zero byte, the schema's id in the registry as
//! four bytes, big-endian, then the datum.

pub use apache_avro::Schema;
use apache_avro::error::Details;
use serde::{Serialize, de::DeserializeOwned};

/// Size of the header before every datum, in bytes.
pub const HEADER_BYTES: usize = 5;

/// The parts of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Framed<'a> {
    /// The writer's schema in the registry.
    pub schema_id: u32,
    /// The Avro datum.
    pub datum: &'a [u8],
}

/// Why a message could not be decoded. It never can be: all of these are
/// permanent.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Too short for a header, or its first byte is not zero.
    #[error("not in Confluent framing: expected a zero byte and a schema id")]
    NotFramed,
    /// The datum ends early.
    #[error("datum ends in the middle of a value")]
    UnexpectedEnd,
    /// There are bytes after the last field.
    #[error("{count} bytes are left after the last field")]
    TrailingBytes {
        /// How many.
        count: usize,
    },
    /// A length is negative or a number is longer than ten bytes.
    #[error("a number or a length is out of range")]
    OutOfRange,
    /// A string is not UTF-8.
    #[error("a string is not UTF-8")]
    NotUtf8(#[source] std::str::Utf8Error),
    /// A union branch that the schema does not have.
    #[error("union branch {branch} does not exist")]
    Union {
        /// Its number.
        branch: i64,
    },
    /// The writer's schema cannot be parsed.
    #[error("writer's schema cannot be parsed: {reason}")]
    Schema {
        /// The parser's message.
        reason: String,
    },
    /// The datum does not fit the type.
    #[error("datum does not fit: {reason}")]
    Datum {
        /// The decoder's message.
        reason: String,
    },
}

/// A value does not fit its schema, which is a defect of the program. Nothing may
/// be written in its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{record} does not fit its Avro schema: {reason}")]
pub struct EncodeError {
    /// Name of the schema's record.
    pub record: String,
    /// Which field does not fit, and why.
    pub reason: String,
}

impl EncodeError {
    fn new(schema: &Schema, error: apache_avro::Error) -> Self {
        let record = schema
            .name()
            .map_or_else(|| "value".to_owned(), |it| it.name().to_owned());
        // Without the schemas, which these errors print whole.
        let reason = match error.into_details() {
            Details::SerializeRecordFieldWithSchema {
                field_name, error, ..
            } => {
                format!("field {field_name}: {error}")
            }
            Details::MissingDefaultForSkippedField { field_name, .. } => {
                format!("field {field_name}: it is not set and has no default")
            }
            Details::GetField(name) => format!("field {name}: the schema does not have it"),
            Details::SerializeValueWithSchema {
                value_type, value, ..
            } => {
                format!("{value_type}: {value}")
            }
            other => other.to_string(),
        };
        Self { record, reason }
    }
}

/// Starts a message: the header for `schema_id`, with capacity for a datum of
/// `capacity` bytes.
pub fn frame(schema_id: u32, capacity: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_BYTES + capacity);
    write_frame(schema_id, &mut out);
    out
}

/// Appends the header for `schema_id`.
pub(crate) fn write_frame(schema_id: u32, out: &mut Vec<u8>) {
    out.push(0);
    out.extend_from_slice(&schema_id.to_be_bytes());
}

/// Splits a message into schema id and datum.
pub fn unframe(message: &[u8]) -> Result<Framed<'_>, DecodeError> {
    match message {
        [0, a, b, c, d, datum @ ..] => Ok(Framed {
            schema_id: u32::from_be_bytes([*a, *b, *c, *d]),
            datum,
        }),
        _ => Err(DecodeError::NotFramed),
    }
}

/// Encodes a message of a small topic, header included.
pub fn encode<T: Serialize>(
    schema: &Schema,
    schema_id: u32,
    value: &T,
) -> Result<Vec<u8>, EncodeError> {
    let mut out = frame(schema_id, 256);
    apache_avro::writer::datum::GenericDatumWriter::builder(schema)
        .build()
        .and_then(|writer| writer.write_ser(&mut out, value))
        .map_err(|error| EncodeError::new(schema, error))?;
    Ok(out)
}

/// Decodes the datum of a small topic, by field name: fields that the type does
/// not know are skipped, fields that the writer did not know get their default.
pub fn decode<T: DeserializeOwned>(writer_schema: &str, datum: &[u8]) -> Result<T, DecodeError> {
    let schema = Schema::parse_str(writer_schema).map_err(|error| DecodeError::Schema {
        reason: error.to_string(),
    })?;
    let mut rest = datum;
    // Through a value, as the library's direct decoding cannot skip an enum field.
    let value = reader(&schema)
        .and_then(|reader| reader.read_value(&mut rest))
        .and_then(|value| apache_avro::from_value(&value))
        .map_err(|error| DecodeError::Datum {
            reason: error.to_string(),
        })?;
    match rest.len() {
        0 => Ok(value),
        count => Err(DecodeError::TrailingBytes { count }),
    }
}

/// The library's reader for data of this schema.
pub(crate) fn reader(
    writer_schema: &Schema,
) -> Result<apache_avro::reader::datum::GenericDatumReader<'_>, apache_avro::Error> {
    apache_avro::reader::datum::GenericDatumReader::builder(writer_schema).build()
}

/// Appends an Avro `long`: zigzag, then base 128.
pub(crate) fn write_long(out: &mut Vec<u8>, value: i64) {
    let mut zigzag = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while zigzag >= 0x80 {
        out.push(low_byte(zigzag) | 0x80);
        zigzag >>= 7;
    }
    out.push(low_byte(zigzag));
}

/// The low seven bits.
fn low_byte(value: u64) -> u8 {
    value.to_le_bytes()[0] & 0x7f
}

/// Appends an Avro `bytes` or `string`.
pub(crate) fn write_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    // INVARIANT: no slice is longer than isize::MAX.
    write_long(out, i64::try_from(bytes.len()).unwrap_or(i64::MAX));
    out.extend_from_slice(bytes);
}

/// Reads a datum from its front.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    fn byte(&mut self) -> Result<u8, DecodeError> {
        let (first, rest) = self.rest.split_first().ok_or(DecodeError::UnexpectedEnd)?;
        self.rest = rest;
        Ok(*first)
    }

    pub(crate) fn boolean(&mut self) -> Result<bool, DecodeError> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::OutOfRange),
        }
    }

    #[inline]
    pub(crate) fn long(&mut self) -> Result<i64, DecodeError> {
        // Nearly all are lengths of short texts, which are one byte.
        if let [first, rest @ ..] = self.rest
            && *first < 0x80
        {
            self.rest = rest;
            return Ok(i64::from(first >> 1) ^ -i64::from(first & 1));
        }
        self.long_of_many_bytes()
    }

    fn long_of_many_bytes(&mut self) -> Result<i64, DecodeError> {
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
            if byte & 0x80 == 0 {
                return Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
            }
        }
        Err(DecodeError::OutOfRange)
    }

    #[inline]
    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = usize::try_from(self.long()?)
            .ok()
            .ok_or(DecodeError::OutOfRange)?;
        let (bytes, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or(DecodeError::UnexpectedEnd)?;
        self.rest = rest;
        Ok(bytes)
    }

    pub(crate) fn string(&mut self) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.bytes()?).map_err(DecodeError::NotUtf8)
    }

    /// Skips a string, but checks that it is UTF-8.
    #[inline]
    pub(crate) fn check_string(&mut self) -> Result<(), DecodeError> {
        let bytes = self.bytes()?;
        // Most are short and ASCII, for which this check is faster.
        if !bytes.is_ascii() {
            std::str::from_utf8(bytes).map_err(DecodeError::NotUtf8)?;
        }
        Ok(())
    }

    /// Number of entries in the next block of a map or an array; `None` at its
    /// end.
    pub(crate) fn block_count(&mut self) -> Result<Option<u64>, DecodeError> {
        match self.long()? {
            0 => Ok(None),
            count if count < 0 => {
                // A negative count is followed by the block's size in bytes.
                self.long()?;
                Ok(Some(count.unsigned_abs()))
            }
            count => Ok(Some(count.unsigned_abs())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Outer {
        name: &'static str,
        inner: Option<Inner>,
    }

    #[derive(Serialize)]
    struct Inner {
        count: i64,
    }

    /// A schema whose `count` has this type.
    fn schema(count: &str) -> Schema {
        let text = format!(
            r#"{{"type": "record", "name": "Outer", "fields": [
                {{"name": "name", "type": "string"}},
                {{"name": "inner", "type": ["null", {{"type": "record", "name": "Inner", "fields": [
                    {{"name": "count", "type": {count}}}]}}]}}]}}"#
        );
        Schema::parse_str(&text).unwrap()
    }

    #[test]
    fn a_value_that_does_not_fit_gives_an_error_that_names_record_and_field() {
        let value = |inner| Outer { name: "n", inner };
        assert!(encode(&schema(r#""long""#), 1, &value(Some(Inner { count: 1 }))).is_ok());
        let strict = schema(r#""string""#);
        let error = encode(&strict, 1, &value(Some(Inner { count: 1 }))).unwrap_err();
        let text = error.to_string();
        assert_eq!(error.record, "Outer");
        for part in ["Outer", "field inner", "'count'", "Inner"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(text.len() < 300, "no schema in it: {text}");
        // The same schema takes the values that fit.
        assert!(encode(&strict, 1, &value(None)).is_ok());
    }

    #[test]
    fn a_field_that_the_schema_does_not_have_is_named() {
        let schema = r#"{"type": "record", "name": "Outer", "fields": [
            {"name": "name", "type": "string"}]}"#;
        let value = Outer {
            name: "n",
            inner: None,
        };
        let error = encode(&Schema::parse_str(schema).unwrap(), 1, &value).unwrap_err();
        assert_eq!(error.reason, "field inner: the schema does not have it");
    }
}
