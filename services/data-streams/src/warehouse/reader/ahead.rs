//! Pages of a reader that goes from page to page through nearly all records.
//!
//! The heads of several pages are read at once and kept for a moment; a page then takes one
//! query, of `changes` alone. What it shows is as new as that query: the heads say only
//! which objects `changes` must have, and in which version at least.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use schemas::Millis;

use super::{RecordReader, heads::Head, record};
use crate::{
    records::{FlagFilter, RecordPage, RecordQuery},
    warehouse::{
        error::{During as _, WarehouseError},
        names::literal,
        render::Renderer,
    },
};

/// Pages whose heads are read at once.
const PAGES: usize = 8;

/// Heads that are read at once at most: 128 KiB.
const MOST_HEADS: usize = 2_048;

/// How long heads are used. An object that `changes` has lost is noticed so late.
const KEPT: Duration = Duration::from_secs(2);

/// Places in the list that are kept, of all readers of a table.
const PLACES: usize = 64;

/// A page that reads more rows than this for each of its objects is read the other way,
/// which reads what it shows only: objects may have many versions, and many that do not
/// match may stand between those that do.
const MANY_VERSIONS: usize = 6;

/// For how long the pages of a table are then read the other way.
const AVOIDED: Duration = Duration::from_mins(1);

const ACTION: &str = "read a page of records";

/// Heads of one table, read ahead.
#[derive(Debug, Default)]
pub(crate) struct ReadAhead(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    places: VecDeque<Place>,
    /// Until when pages are read the other way.
    avoided_until: Option<Instant>,
}

/// What follows an id.
#[derive(Debug, Clone)]
struct Place {
    after: u64,
    archived: FlagFilter,
    deleted: FlagFilter,
    heads: Arc<[Head]>,
    /// Where they begin that follow the id.
    start: usize,
    /// Whether no object follows them.
    is_end: bool,
    read_at: Instant,
}

impl Place {
    fn following(&self) -> &[Head] {
        self.heads.get(self.start..).unwrap_or_default()
    }

    /// Whether it has a whole page and shows whether another one follows.
    fn has_page(&self, limit: usize) -> bool {
        self.is_end || self.following().len() > limit
    }

    fn serves(&self, query: &RecordQuery, after: u64) -> bool {
        self.after == after
            && (self.archived, self.deleted) == (query.archived, query.deleted)
            && self.read_at.elapsed() < KEPT
            && self.has_page(query.limit)
    }

    /// What follows an id of this list.
    fn moved_to(&self, after: u64) -> Self {
        Self {
            after,
            start: self.heads.partition_point(|head| head.id <= after),
            ..self.clone()
        }
    }
}

impl ReadAhead {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, query: &RecordQuery, after: u64) -> Option<Place> {
        let state = self.lock();
        let found = state.places.iter().find(|it| it.serves(query, after));
        found.cloned()
    }

    fn keep(&self, place: Place) {
        let mut state = self.lock();
        state.places.push_back(place);
        while state.places.len() > PLACES {
            state.places.pop_front();
        }
    }

    fn is_avoided(&self) -> bool {
        self.lock()
            .avoided_until
            .is_some_and(|it| it > Instant::now())
    }

    /// Whether so many versions are too many for so many objects, which is remembered.
    fn learn(&self, versions: usize, objects: usize) -> bool {
        let are_too_many = versions > objects.saturating_mul(MANY_VERSIONS);
        if are_too_many {
            self.lock().avoided_until = Some(Instant::now() + AVOIDED);
        }
        are_too_many
    }
}

/// A row of `changes`.
#[derive(clickhouse::Row, serde::Deserialize)]
struct VersionRow<'a> {
    object_id: u64,
    created_at: Millis,
    updated_at: Millis,
    archived: bool,
    deleted: bool,
    version: u128,
    properties: &'a str,
}

/// The newest version of an object.
struct Newest {
    head: Head,
    properties: String,
}

impl RecordReader<'_> {
    /// Reads a page after an id. `None` where it has to be read the other way.
    pub(super) async fn page_ahead(
        &self,
        query: &RecordQuery,
    ) -> Result<Option<RecordPage>, WarehouseError> {
        let ahead = &self.reads.ahead;
        let Some(after) = query.after else {
            return Ok(None);
        };
        if !query.matches_nearly_all() || ahead.is_avoided() {
            return Ok(None);
        }
        let place = match ahead.find(query, after) {
            Some(place) => place,
            None => self.read_place(query, after).await?,
        };
        let known = place.following();
        let is_last = known.len() <= query.limit;
        let page = known.get(..query.limit).unwrap_or(known);
        // Behind the last head there may be new objects.
        let last = page.last().filter(|_| !is_last).map(|head| head.id);
        let Some(newest) = self.newest(after, last, query.limit).await? else {
            return Ok(None);
        };
        let has = |head: &Head| {
            let found = newest.get(&head.id);
            found.is_some_and(|it| it.head.version >= head.version)
        };
        if !page.iter().all(has) {
            return Ok(None);
        }
        let mut found: Vec<_> = newest.into_values().collect();
        found.retain(|it| {
            query.archived.matches(it.head.archived) && query.deleted.matches(it.head.deleted)
        });
        found.sort_unstable_by_key(|it| it.head.id);
        if found.len() < query.limit && !is_last {
            // Some have been deleted since.
            return Ok(None);
        }
        let has_more = !is_last || found.len() > query.limit;
        found.truncate(query.limit);
        let next = found.last().map(|it| it.head.id).filter(|_| has_more);
        if let Some(next) = next {
            ahead.keep(place.moved_to(next));
        }
        let mut renderer = Renderer::new(&self.layout, query.properties.as_deref());
        let records = found
            .iter()
            .map(|it| record(&it.head, Some(&it.properties), &mut renderer))
            .collect::<Result<_, _>>()?;
        Ok(Some(RecordPage { records, next }))
    }

    /// Reads the heads of several pages.
    async fn read_place(&self, query: &RecordQuery, after: u64) -> Result<Place, WarehouseError> {
        let most = (query.limit * PAGES).min(MOST_HEADS).max(query.limit);
        let heads = RecordQuery {
            limit: most,
            ..query.clone()
        };
        let heads = self.heads(&heads).await?;
        Ok(Place {
            after,
            archived: query.archived,
            deleted: query.deleted,
            is_end: heads.len() <= most,
            heads: heads.into(),
            start: 0,
            read_at: Instant::now(),
        })
    }

    /// The newest version of each object in a range of ids; without an end if `last` is
    /// `None`. Nothing if it has too many versions for a page of `limit` objects: they are
    /// not read to their end.
    async fn newest(
        &self,
        after: u64,
        last: Option<u64>,
        limit: usize,
    ) -> Result<Option<HashMap<u64, Newest>>, WarehouseError> {
        let end = last.map_or_else(String::new, |last| format!(" AND object_id <= {last}"));
        let statement = format!(
            "SELECT object_id, created_at, updated_at, archived, deleted, version, properties \
             FROM {} PREWHERE object_type = {} AND object_id > {after}{end}",
            self.changes,
            literal(self.object_type),
        );
        let mut cursor = self
            .session
            .records(&statement)
            .fetch::<VersionRow<'_>>()
            .during(ACTION)?;
        let mut newest: HashMap<u64, Newest> = HashMap::new();
        let mut versions = 0;
        while let Some(row) = self.session.within(ACTION, cursor.next()).await? {
            versions += 1;
            if self.reads.ahead.learn(versions, limit) {
                return Ok(None);
            }
            let head = head(&row);
            let known = newest.get_mut(&head.id);
            match known {
                Some(known) if known.head.version >= head.version => {}
                Some(known) => {
                    known.head = head;
                    row.properties.clone_into(&mut known.properties);
                }
                None => {
                    let properties = row.properties.to_owned();
                    newest.insert(head.id, Newest { head, properties });
                }
            }
        }
        Ok(Some(newest))
    }
}

fn head(row: &VersionRow<'_>) -> Head {
    Head {
        id: row.object_id,
        created_at: row.created_at,
        updated_at: row.updated_at,
        archived: row.archived,
        deleted: row.deleted,
        version: row.version,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(count: u64, is_end: bool) -> Place {
        let heads = (1..=count).map(|id| Head {
            id: id * 10,
            created_at: 0,
            updated_at: 0,
            archived: false,
            deleted: false,
            version: 1,
        });
        Place {
            after: 0,
            archived: FlagFilter::Exclude,
            deleted: FlagFilter::Exclude,
            heads: heads.collect(),
            start: 0,
            is_end,
            read_at: Instant::now(),
        }
    }

    fn query(limit: usize) -> RecordQuery {
        RecordQuery {
            limit,
            ..RecordQuery::default()
        }
    }

    #[test]
    fn a_place_serves_whole_pages_of_the_same_kind_from_where_the_last_one_ended() {
        let ahead = ReadAhead::default();
        ahead.keep(place(30, false).moved_to(100));
        let found = ahead.find(&query(19), 100).unwrap();
        assert_eq!(found.following().first().map(|it| it.id), Some(110));
        assert!(ahead.find(&query(20), 100).is_none(), "it has 20, not 21");
        assert!(ahead.find(&query(19), 101).is_none());
        let deleted = RecordQuery {
            deleted: FlagFilter::Include,
            ..query(19)
        };
        assert!(ahead.find(&deleted, 100).is_none());
        ahead.keep(place(30, true).moved_to(200));
        assert!(ahead.find(&query(500), 200).is_some(), "it is the end");
    }

    #[test]
    fn as_many_places_are_kept_as_allowed_and_not_for_long() {
        let ahead = ReadAhead::default();
        for after in 1..=u64::try_from(PLACES).unwrap() + 1 {
            ahead.keep(place(30, false).moved_to(after));
        }
        assert!(ahead.find(&query(10), 1).is_none());
        assert!(ahead.find(&query(10), 2).is_some());
        let old = Place {
            read_at: Instant::now().checked_sub(KEPT).unwrap(),
            ..place(30, false).moved_to(3)
        };
        ahead.keep(old);
        let found = ahead.find(&query(10), 3).unwrap();
        assert!(found.read_at.elapsed() < KEPT, "the older one is not used");
    }

    #[test]
    fn objects_with_many_versions_are_read_the_other_way() {
        let ahead = ReadAhead::default();
        assert!(!ahead.learn(600, 100));
        assert!(!ahead.is_avoided());
        assert!(ahead.learn(601, 100));
        assert!(ahead.is_avoided());
    }
}
