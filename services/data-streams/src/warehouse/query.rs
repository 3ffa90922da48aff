//! Stored records, read page by page.
//!
//! Which records are on a page, the wide table says from a few narrow columns;
//! their properties come from `changes` as one string each, which is cheaper
//! than hundreds of columns. It must not know of HTTP.

use std::{collections::HashMap, fmt::Write as _, time::Duration};

use schemas::Millis;

use super::{
    error::Error,
    layout::{ColumnType, Layout},
    names::{CHANGES, literal, qualified, raw_database},
    session::Session,
};

/// How often properties are asked for that are not there yet.
const ATTEMPTS: usize = 20;

/// Time between two of these attempts.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// Which records are meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Records of a page, at least 1.
    pub limit: usize,
    /// Only objects with a larger id.
    pub after: Option<u64>,
    /// Only these objects.
    pub ids: Option<Vec<u64>>,
    /// Last changed then or later.
    pub updated_since: Option<Millis>,
    /// Last changed before.
    pub updated_before: Option<Millis>,
    /// Archived ones or not.
    pub archived: Archived,
    /// Only these properties; all that are set where it is `None`.
    pub properties: Option<Vec<String>>,
}

/// Whether archived records are meant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Archived {
    /// Only those that are not.
    #[default]
    No,
    /// Only those.
    Yes,
    /// Both.
    Any,
}

/// One stored record.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// HubSpot's id of the object.
    pub id: u64,
    /// HubSpot's `createdAt`.
    pub created_at: Millis,
    /// HubSpot's `updatedAt`.
    pub updated_at: Millis,
    /// In the recycle bin.
    pub archived: bool,
    /// Each property that is set, as JSON of its type.
    pub properties: serde_json::Map<String, serde_json::Value>,
}

/// A page of records, by ascending id.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Page {
    /// At most [`Filter::limit`].
    pub records: Vec<Record>,
    /// `after` of the next page; `None` on the last.
    pub next: Option<u64>,
}

/// Reads a page. As it goes on from an id, which never changes, a record that
/// matches throughout is on exactly one page, whatever changes meanwhile.
pub(crate) async fn page(
    session: &Session,
    place: (&str, &str),
    layout: &Layout,
    filter: &Filter,
) -> Result<Page, Error> {
    let (destination, object_type) = place;
    let raw = raw_database(destination);
    let query = session
        .client()
        .query(&heads_statement(&qualified(&raw, object_type), filter))
        .fetch_all::<Head>();
    let mut heads = session.within("read a page of records", query).await?;
    let more = heads.len() > filter.limit;
    heads.truncate(filter.limit);
    let next = heads.last().map(|head| head.0).filter(|_| more);
    let texts = texts(session, &qualified(&raw, CHANGES), object_type, &heads).await?;
    let records = heads
        .into_iter()
        .map(|(id, created_at, updated_at, archived, _)| Record {
            id,
            created_at,
            updated_at,
            archived,
            properties: texts
                .get(&id)
                .map(|text| typed(text, layout, filter.properties.as_deref()))
                .unwrap_or_default(),
        })
        .collect();
    Ok(Page { records, next })
}

/// Every table alias is `t`, so that a filter means the stored column.
fn heads_statement(table: &str, filter: &Filter) -> String {
    let mut statement = format!(
        "SELECT t._object_id, toUnixTimestamp64Milli(t._created_at), \
         toUnixTimestamp64Milli(t._updated_at), t._archived, t._version FROM {table} AS t FINAL \
         WHERE NOT t._deleted"
    );
    let mut and = |condition: std::fmt::Arguments<'_>| {
        // Writing into a String cannot fail.
        let written = write!(statement, " AND {condition}");
        debug_assert!(written.is_ok());
    };
    match filter.archived {
        Archived::No => and(format_args!("NOT t._archived")),
        Archived::Yes => and(format_args!("t._archived")),
        Archived::Any => {}
    }
    if let Some(after) = filter.after {
        and(format_args!("t._object_id > {after}"));
    }
    if let Some(since) = filter.updated_since {
        and(format_args!(
            "t._updated_at >= fromUnixTimestamp64Milli({since}, 'UTC')"
        ));
    }
    if let Some(before) = filter.updated_before {
        and(format_args!(
            "t._updated_at < fromUnixTimestamp64Milli({before}, 'UTC')"
        ));
    }
    if let Some(ids) = &filter.ids {
        and(format_args!(
            "t._object_id IN ({})",
            list(ids.iter().copied())
        ));
    }
    // One more than asked for tells whether there is a next page.
    statement + &format!(" ORDER BY t._object_id LIMIT {}", filter.limit + 1)
}

type Head = (u64, i64, i64, bool, u128);

/// The properties of exactly these versions, by object.
///
/// The two tables are filled at the same time, each in an insert of its own,
/// so the one may be a moment behind the other: then it is asked again.
async fn texts(
    session: &Session,
    table: &str,
    object_type: &str,
    heads: &[Head],
) -> Result<HashMap<u64, String>, Error> {
    let mut found = HashMap::with_capacity(heads.len());
    let mut missing = heads.to_vec();
    for attempt in 0..ATTEMPTS {
        let Some(statement) = texts_statement(table, object_type, &missing) else {
            break;
        };
        if attempt > 0 {
            tokio::time::sleep(ASK_AGAIN).await;
        }
        let query = session
            .client()
            .query_raw(&statement)
            .fetch_all::<(u64, u128, String)>();
        let rows = session.within("read properties", query).await?;
        let versions: HashMap<_, _> = missing.iter().map(|head| (head.0, head.4)).collect();
        found.extend(
            rows.into_iter()
                .filter(|(id, version, _)| versions.get(id) == Some(version))
                .map(|(id, _, text)| (id, text)),
        );
        missing.retain(|head| !found.contains_key(&head.0));
    }
    if !missing.is_empty() {
        tracing::warn!(
            table,
            object_type,
            rows = missing.len(),
            "properties are missing"
        );
    }
    Ok(found)
}

/// The versions with these fetch sequences, which are nearly always the ones
/// wanted; a list of the versions themselves takes longer to parse than to
/// answer. `None` for no version at all.
fn texts_statement(table: &str, object_type: &str, heads: &[Head]) -> Option<String> {
    let (first, last) = (heads.first()?, heads.last()?);
    let object_type = literal(object_type);
    let ids = list(heads.iter().map(|head| head.0));
    // A version ends in its fetch sequence.
    let sequences = list(
        heads
            .iter()
            .filter_map(|head| u64::try_from(head.4 & u128::from(u64::MAX)).ok()),
    );
    Some(format!(
        "SELECT object_id, version, properties FROM {table} PREWHERE object_type = {object_type} \
         AND object_id >= {} AND object_id <= {} AND object_id IN ({ids}) \
         AND fetch_sequence IN ({sequences})",
        first.0, last.0
    ))
}

/// Numbers for an `IN`. An empty one matches nothing.
fn list(ids: impl Iterator<Item = u64>) -> String {
    let ids: Vec<_> = ids.map(|id| id.to_string()).collect();
    if ids.is_empty() {
        "NULL".to_owned()
    } else {
        ids.join(",")
    }
}

/// HubSpot's texts as JSON of their type.
fn typed(
    text: &str,
    layout: &Layout,
    wanted: Option<&[String]>,
) -> serde_json::Map<String, serde_json::Value> {
    // INVARIANT: we wrote it as a flat object of texts.
    let stored: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(text).unwrap_or_default();
    let mut properties = serde_json::Map::new();
    for (name, value) in stored {
        if wanted.is_some_and(|wanted| !wanted.contains(&name)) {
            continue;
        }
        let kind = layout.current(&name).map(|(_, column)| column.kind);
        let value = match (kind, &value) {
            (Some(kind), serde_json::Value::String(text)) => json(kind, text).unwrap_or(value),
            _ => value,
        };
        properties.insert(name, value);
    }
    properties
}

/// Where JSON has the type and loses nothing; else it stays a text.
fn json(kind: ColumnType, text: &str) -> Option<serde_json::Value> {
    use super::value::{Parsed, boolean, integer, number};
    match kind {
        ColumnType::Number => match number(text) {
            Parsed::Same(value) | Parsed::Other(value) => {
                match integer(text) {
                    // `5` and not `5.0`.
                    Parsed::Same(whole) => Some(whole.into()),
                    _ => serde_json::Number::from_f64(value).map(Into::into),
                }
            }
            Parsed::Text => match integer(text) {
                Parsed::Same(whole) => Some(whole.into()),
                Parsed::Other(_) | Parsed::Text => None,
            },
        },
        ColumnType::Boolean => match boolean(text) {
            Parsed::Same(value) | Parsed::Other(value) => Some(value.into()),
            Parsed::Text => None,
        },
        ColumnType::Identifier => match integer(text) {
            Parsed::Same(whole) | Parsed::Other(whole) => Some(whole.into()),
            Parsed::Text => None,
        },
        ColumnType::Text | ColumnType::Date | ColumnType::Time => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_goes_on_from_an_id_and_asks_for_one_more() {
        let filter = Filter {
            limit: 100,
            after: Some(7),
            updated_since: Some(5),
            archived: Archived::Any,
            ids: Some(vec![]),
            ..Filter::default()
        };
        let statement = heads_statement("`r`.`contacts`", &filter);
        assert!(statement.contains("t._object_id > 7"));
        assert!(
            statement.contains("IN (NULL)"),
            "no ids match nothing: {statement}"
        );
        assert!(!statement.contains("_archived\""));
        assert!(statement.ends_with("LIMIT 101"));
    }

    #[test]
    fn values_are_json_of_their_type() {
        use serde_json::json;
        let row = |kind: ColumnType, text: &str| json(kind, text);
        assert_eq!(row(ColumnType::Number, "5"), Some(json!(5)));
        assert_eq!(row(ColumnType::Number, "1500.50"), Some(json!(1500.5)));
        assert_eq!(
            row(ColumnType::Number, "9007199254740993"),
            Some(json!(9_007_199_254_740_993_i64))
        );
        assert_eq!(row(ColumnType::Number, "1;2"), None);
        assert_eq!(row(ColumnType::Boolean, "true"), Some(json!(true)));
        assert_eq!(row(ColumnType::Identifier, "12"), Some(json!(12)));
        assert_eq!(row(ColumnType::Identifier, "none"), None);
    }

    #[test]
    fn only_the_properties_asked_for_are_given() {
        let wanted = vec!["a".to_owned(), "missing".to_owned()];
        let found = typed(r#"{"a":"1","b":"2"}"#, &Layout::default(), Some(&wanted));
        assert_eq!(
            serde_json::Value::Object(found),
            serde_json::json!({"a": "1"})
        );
    }
}
