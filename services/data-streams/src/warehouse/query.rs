//! Stored records, read page by page.
//!
//! Which records are on a page, the wide table says from a few narrow columns;
//! their properties come from `changes` as one string each, which is cheaper
//! than hundreds of columns. It must not know of HTTP.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use schemas::Millis;

use super::{
    error::Error,
    layout::Layout,
    names::{CHANGES, literal, qualified, raw_database},
    render::Renderer,
    session::Session,
};

/// How often properties are asked for that are not there yet.
const ATTEMPTS: usize = 20;

/// Time between two of these attempts.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// Of so many objects in a range of ids, at least one has to be wanted for the
/// whole range to be read.
const FEW: u64 = 4;

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

impl Filter {
    /// Whether nearly every id has a record that matches.
    pub(crate) fn takes_nearly_all(&self) -> bool {
        self.ids.is_none()
            && self.updated_since.is_none()
            && self.updated_before.is_none()
            && self.archived != Archived::Yes
    }
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
    /// Each property that is set, as a JSON object of its type.
    pub properties: String,
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
    (layout, spacing): (&Layout, &Spacing),
    filter: &Filter,
) -> Result<Page, Error> {
    let (destination, object_type) = place;
    let raw = raw_database(destination);
    let mut heads = heads(session, &qualified(&raw, object_type), filter, spacing).await?;
    let more = heads.len() > filter.limit;
    heads.truncate(filter.limit);
    let next = heads.last().map(|head| head.0).filter(|_| more);
    let few = spacing.are_few(&heads, filter);
    let changes = qualified(&raw, CHANGES);
    let texts = texts(session, (&changes, object_type), &heads, few).await?;
    let mut renderer = Renderer::new(layout, filter.properties.as_deref());
    let records = heads
        .into_iter()
        .map(|head| record(head, texts.get(&head.0).map(String::as_str), &mut renderer))
        .collect();
    Ok(Page { records, next })
}

/// A record from what both tables say of it.
pub(crate) fn record(head: Head, text: Option<&str>, renderer: &mut Renderer<'_>) -> Record {
    let (id, created_at, updated_at, archived, _version) = head;
    Record {
        id,
        created_at,
        updated_at,
        archived,
        properties: renderer.render(text.unwrap_or("{}")),
    }
}

/// How far apart the ids of a table's neighbours were on the page read last;
/// zero before the first.
#[derive(Debug, Default)]
pub(crate) struct Spacing(AtomicU64);

impl Spacing {
    fn learn(&self, heads: &[Head]) {
        let neighbours = u64::try_from(heads.len()).unwrap_or_default();
        if let (Some(first), Some(last)) = (heads.first(), heads.last())
            && neighbours > 10
        {
            let apart = last.0.saturating_sub(first.0) / (neighbours - 1);
            self.0.store(apart.max(1), Ordering::Relaxed);
        }
    }

    /// Whether these, of those that match, are few of the objects in their range
    /// of ids, so that reading all of it would be a waste.
    pub(crate) fn are_few(&self, heads: &[Head], filter: &Filter) -> bool {
        let (Some(first), Some(last)) = (heads.first(), heads.last()) else {
            return false;
        };
        let range = last.0.saturating_sub(first.0);
        let heads = u64::try_from(heads.len()).unwrap_or(u64::MAX);
        let apart = self.0.load(Ordering::Relaxed).max(1);
        !filter.takes_nearly_all() && range / apart > heads.saturating_mul(FEW)
    }

    /// Up to which id a page after `after` probably reaches.
    fn reach(&self, after: u64, limit: usize) -> Option<u64> {
        let apart = self.0.load(Ordering::Relaxed);
        let limit = u64::try_from(limit).unwrap_or(u64::MAX);
        let width = apart.saturating_mul(limit).saturating_mul(2);
        (apart > 0).then(|| after.saturating_add(width))
    }
}

/// The heads of a page, and one more.
///
/// A merging read costs as much as the rows that it begins with, whatever the
/// limit: so only as many ids are read as probably suffice, and the rest only
/// where they did not.
pub(crate) async fn heads(
    session: &Session,
    table: &str,
    filter: &Filter,
    spacing: &Spacing,
) -> Result<Vec<Head>, Error> {
    let fetch = async |up_to: Option<u64>| {
        let mut statement = heads_statement(table, filter, up_to);
        statement.push_str(" LIMIT ");
        // One more than asked for tells whether there is a next page.
        statement.push_str(&(filter.limit + 1).to_string());
        let query = session.records(&statement).fetch_all::<Head>();
        session.within("read a page of records", query).await
    };
    if !filter.takes_nearly_all() {
        return fetch(None).await;
    }
    let up_to = spacing.reach(filter.after.unwrap_or(0), filter.limit + 1);
    if up_to.is_some() {
        let heads = fetch(up_to).await?;
        if heads.len() > filter.limit {
            spacing.learn(&heads);
            return Ok(heads);
        }
    }
    let heads = fetch(None).await?;
    spacing.learn(&heads);
    Ok(heads)
}

/// All heads that match, up to an id where there is one. Every table alias is
/// `t`, so that a filter means the stored column.
pub(crate) fn heads_statement(table: &str, filter: &Filter, up_to: Option<u64>) -> String {
    let mut conditions = vec!["NOT t._deleted".to_owned()];
    match filter.archived {
        Archived::No => conditions.push("NOT t._archived".to_owned()),
        Archived::Yes => conditions.push("t._archived".to_owned()),
        Archived::Any => {}
    }
    if let Some(after) = filter.after {
        conditions.push(format!("t._object_id > {after}"));
    }
    if let Some(up_to) = up_to {
        conditions.push(format!("t._object_id <= {up_to}"));
    }
    if let Some(since) = filter.updated_since {
        conditions.push(format!(
            "t._updated_at >= fromUnixTimestamp64Milli({since}, 'UTC')"
        ));
    }
    if let Some(before) = filter.updated_before {
        conditions.push(format!(
            "t._updated_at < fromUnixTimestamp64Milli({before}, 'UTC')"
        ));
    }
    if let Some(ids) = &filter.ids {
        conditions.push(format!("t._object_id IN ({})", list(ids.iter().copied())));
    }
    format!(
        "SELECT t._object_id, toUnixTimestamp64Milli(t._created_at), \
         toUnixTimestamp64Milli(t._updated_at), t._archived, t._version FROM {table} AS t FINAL \
         WHERE {} ORDER BY t._object_id",
        conditions.join(" AND ")
    )
}

/// Id, created and updated in ms, archived, version.
pub(crate) type Head = (u64, i64, i64, bool, u128);

/// The properties of exactly these versions, by object.
///
/// The two tables are filled at the same time, each in an insert of its own,
/// so the one may be a moment behind the other: then it is asked again.
pub(crate) async fn texts(
    session: &Session,
    (table, object_type): (&str, &str),
    heads: &[Head],
    few: bool,
) -> Result<HashMap<u64, String>, Error> {
    let mut found = HashMap::with_capacity(heads.len());
    let mut missing = heads.to_vec();
    for attempt in 0..ATTEMPTS {
        let Some(statement) = texts_statement((table, object_type), &missing, few || attempt > 0)
        else {
            break;
        };
        if attempt > 0 {
            tokio::time::sleep(ASK_AGAIN).await;
        }
        let query = session
            .records(&statement)
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
/// answer. Where they are few of their range, the ids are named too. `None` for
/// no version.
fn texts_statement(
    (table, object_type): (&str, &str),
    heads: &[Head],
    few: bool,
) -> Option<String> {
    let (first, last) = (heads.first()?.0, heads.last()?.0);
    let object_type = literal(object_type);
    // A version ends in its fetch sequence.
    let mut sequences: Vec<u64> = heads
        .iter()
        .filter_map(|head| u64::try_from(head.4 & u128::from(u64::MAX)).ok())
        .collect();
    sequences.sort_unstable();
    sequences.dedup();
    let sequences = list(sequences.into_iter());
    let ids = if few {
        format!(
            " AND object_id IN ({})",
            list(heads.iter().map(|head| head.0))
        )
    } else {
        String::new()
    };
    Some(format!(
        "SELECT object_id, version, properties FROM {table} PREWHERE object_type = {object_type} \
         AND object_id >= {first} AND object_id <= {last}{ids} \
         AND fetch_sequence IN ({sequences})"
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_goes_on_from_an_id() {
        let filter = Filter {
            limit: 100,
            after: Some(7),
            updated_since: Some(5),
            archived: Archived::Any,
            ids: Some(vec![]),
            ..Filter::default()
        };
        let statement = heads_statement("`r`.`contacts`", &filter, Some(900));
        assert!(statement.contains("t._object_id > 7"));
        assert!(
            statement.contains("IN (NULL)"),
            "no ids match nothing: {statement}"
        );
        assert!(!statement.contains("_archived\""));
        assert!(statement.contains("t._object_id <= 900"));
    }
}
