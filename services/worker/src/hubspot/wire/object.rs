//! Objects: the part of the answers that is large.
//!
//! It must not know which endpoint answered.

use std::{borrow::Cow, fmt};

use schemas::{Millis, PropertyMap, PropertyMapBuilder};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use super::time;
use crate::sync::Object;

/// An array of objects, in the order of the answer.
pub(super) struct Objects(pub(super) Vec<Object>);

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

impl<'de> Deserialize<'de> for Objects {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ObjectsVisitor).map(Self)
    }
}

struct ObjectsVisitor;

impl<'de> Visitor<'de> for ObjectsVisitor {
    type Value = Vec<Object>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
        // A page has 100 at most.
        let mut objects = Vec::with_capacity(100);
        let mut builder = PropertyMapBuilder::default();
        while let Some(object) = sequence.next_element_seed(ObjectSeed(&mut builder))? {
            objects.push(object);
        }
        Ok(objects)
    }
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "camelCase")]
enum Field {
    Id,
    Properties,
    CreatedAt,
    UpdatedAt,
    Archived,
    #[serde(other)]
    Other,
}

/// Reads an object with a builder that all of the page share.
struct ObjectSeed<'b>(&'b mut PropertyMapBuilder);

impl<'de> DeserializeSeed<'de> for ObjectSeed<'_> {
    type Value = Object;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Object, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ObjectSeed<'_> {
    type Value = Object;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
        let mut id = None;
        let mut created_at = None;
        let mut updated_at = None;
        let mut archived = None;
        let mut properties = Properties::default();
        while let Some(field) = map.next_key()? {
            match field {
                Field::Id => id = Some(map.next_value::<Id>()?.0),
                Field::Properties => properties = map.next_value_seed(PropertiesSeed(self.0))?,
                Field::CreatedAt => created_at = map.next_value::<Time>()?.0,
                Field::UpdatedAt => updated_at = map.next_value::<Time>()?.0,
                Field::Archived => archived = map.next_value::<Option<bool>>()?,
                Field::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        // The properties of the same meaning stand in for a time that is
        // missing, and each time for the other.
        let created_at = created_at.or(properties.created_at);
        let updated_at = updated_at
            .or(properties.updated_at)
            .or(created_at)
            .unwrap_or(0);
        Ok(Object {
            id: id.ok_or_else(|| A::Error::missing_field("id"))?,
            created_at: created_at.unwrap_or(updated_at),
            updated_at,
            archived: archived.unwrap_or(false),
            merged_ids: properties.merged_ids,
            properties: properties.map,
        })
    }
}

#[derive(Default)]
struct Properties {
    map: PropertyMap,
    merged_ids: Vec<i64>,
    created_at: Option<Millis>,
    updated_at: Option<Millis>,
}

struct PropertiesSeed<'b>(&'b mut PropertyMapBuilder);

impl<'de> DeserializeSeed<'de> for PropertiesSeed<'_> {
    type Value = Properties;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Properties, D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de> Visitor<'de> for PropertiesSeed<'_> {
    type Value = Properties;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("properties")
    }

    fn visit_unit<E>(self) -> Result<Properties, E> {
        Ok(Properties::default())
    }

    fn visit_none<E>(self) -> Result<Properties, E> {
        Ok(Properties::default())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Properties, D::Error> {
        deserializer.deserialize_map(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Properties, A::Error> {
        let mut properties = Properties::default();
        while let Some(Text(name)) = map.next_key()? {
            let Some(value) = map.next_value::<Value<'de>>()?.0 else {
                continue;
            };
            match &*name {
                "hs_merged_object_ids" => properties.merged_ids = ids_of(&value),
                "createdate" | "hs_createdate" => properties.created_at = time::parse(&value),
                "lastmodifieddate" | "hs_lastmodifieddate" => {
                    properties.updated_at = time::parse(&value);
                }
                _ => {}
            }
            self.0.push(&name, &value);
        }
        properties.map = self.0.finish();
        Ok(properties)
    }
}

fn ids_of(list: &str) -> Vec<i64> {
    list.split(';')
        .filter_map(|id| id.trim().parse().ok())
        .collect()
}

struct Time(Option<Millis>);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(
            text(deserializer)?.and_then(|text| time::parse(&text)),
        ))
    }
}

/// A string that is borrowed unless it has escapes.
struct Text<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_str(TextVisitor)
            .map(|text| Self(text.unwrap_or_default()))
    }
}

struct Value<'a>(Option<Cow<'a, str>>);

impl<'de> Deserialize<'de> for Value<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text(deserializer).map(Self)
    }
}

/// Reads a string, a number or a truth value as text, `None` for null.
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
