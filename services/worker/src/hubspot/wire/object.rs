//! Parses objects, which are nearly all of an answer. Property values go from the
//! text straight into their Avro encoding.

use std::{borrow::Cow, fmt};

use schemas::{Millis, PropertyMapBuilder};
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, IgnoredAny, Visitor},
};

use super::{
    names::{Names, Role},
    scan::{Scanner, Unexpected},
    time,
};
use crate::sync::Object;

/// An id: a string, or a number.
pub(super) struct Id(pub(super) i64);

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = text(deserializer)?.unwrap_or_default();
        text.parse()
            .map(Self)
            .map_err(|_not_a_number| D::Error::custom("id is not a number"))
    }
}

/// Parses an array of objects, in the order of the answer.
pub(super) fn objects(scanner: &mut Scanner<'_>) -> Result<Vec<Object>, Unexpected> {
    // A page has at most 100.
    let mut objects = Vec::with_capacity(100);
    let mut reader = ObjectReader {
        names: Names::default(),
        builder: PropertyMapBuilder::for_bytes(scanner.left()),
    };
    scanner.elements(|scanner| {
        objects.push(reader.object(scanner)?);
        Ok(())
    })?;
    Ok(objects)
}

/// What parsing the objects of an answer shares.
struct ObjectReader {
    names: Names,
    builder: PropertyMapBuilder,
}

/// Values of an object's properties that its record needs beside the properties.
#[derive(Default)]
struct TypedProperties {
    merged_ids: Vec<i64>,
    created_at: Option<Millis>,
    updated_at: Option<Millis>,
}

impl ObjectReader {
    fn object(&mut self, scanner: &mut Scanner<'_>) -> Result<Object, Unexpected> {
        let mut id = None;
        let mut created_at = None;
        let mut updated_at = None;
        let mut archived = None;
        let mut properties = TypedProperties::default();
        scanner.members(|scanner, name| {
            match name {
                "id" => id = Some(scanner.value::<Id>()?.0),
                "properties" => self.properties(scanner, &mut properties)?,
                "createdAt" => created_at = time_of(scanner)?,
                "updatedAt" => updated_at = time_of(scanner)?,
                "archived" => archived = scanner.value::<Option<bool>>()?,
                _ => {
                    scanner.value::<IgnoredAny>()?;
                }
            }
            Ok(())
        })?;
        // A missing time is taken from the property of that meaning, and then
        // from the other time.
        let created_at = created_at.or(properties.created_at);
        let updated_at = updated_at
            .or(properties.updated_at)
            .or(created_at)
            .unwrap_or(0);
        Ok(Object {
            id: id.ok_or_else(|| scanner.unexpected())?,
            created_at: created_at.unwrap_or(updated_at),
            updated_at,
            archived: archived.unwrap_or(false),
            merged_ids: properties.merged_ids,
            properties: self.builder.finish(),
        })
    }

    fn properties(
        &mut self,
        scanner: &mut Scanner<'_>,
        typed: &mut TypedProperties,
    ) -> Result<(), Unexpected> {
        // If `properties` occurs twice, the last one counts, as with serde.
        *typed = TypedProperties::default();
        drop(self.builder.finish());
        if scanner.peek() == Some(b'n') {
            return scanner.value::<()>();
        }
        scanner.require(b'{')?;
        if scanner.take(b'}') {
            return Ok(());
        }
        self.names.rewind();
        loop {
            let name = self.names.next(scanner)?;
            if !scanner.take_exactly(b"null")
                && let Some(value) = scalar(scanner)?
            {
                match name.role {
                    Role::Plain => {}
                    Role::MergedIds => typed.merged_ids = ids_of(&value),
                    Role::CreatedAt => typed.created_at = time::parse(&value),
                    Role::UpdatedAt => typed.updated_at = time::parse(&value),
                }
                self.builder.push_named(&name.encoded, &value);
            }
            if !scanner.take(b',') {
                return scanner.require(b'}');
            }
        }
    }
}

fn ids_of(list: &str) -> Vec<i64> {
    list.split(';')
        .filter_map(|id| id.trim().parse().ok())
        .collect()
}

fn time_of(scanner: &mut Scanner<'_>) -> Result<Option<Millis>, Unexpected> {
    Ok(scalar(scanner)?.and_then(|text| time::parse(&text)))
}

/// A string, number or boolean as text; `None` for null.
fn scalar<'a>(scanner: &mut Scanner<'a>) -> Result<Option<Cow<'a, str>>, Unexpected> {
    if scanner.peek() == Some(b'"') {
        return scanner.string().map(Some);
    }
    scanner.value::<Scalar<'a>>().map(|value| value.0)
}

struct Scalar<'a>(Option<Cow<'a, str>>);

impl<'de> Deserialize<'de> for Scalar<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text(deserializer).map(Self)
    }
}

/// Deserializes a string, number or boolean as text; `None` for null.
pub(super) fn text<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Cow<'de, str>>, D::Error> {
    deserializer.deserialize_any(TextVisitor)
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Option<Cow<'de, str>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or null")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Some(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(Cow::Owned(text.to_owned())))
    }

    fn visit_string<E>(self, text: String) -> Result<Self::Value, E> {
        Ok(Some(Cow::Owned(text)))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Some(Cow::Borrowed(if value { "true" } else { "false" })))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Some(Cow::Owned(value.to_string())))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Some(Cow::Owned(value.to_string())))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Some(Cow::Owned(value.to_string())))
    }
}
