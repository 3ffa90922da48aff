//! Proves that HubSpot fails on one object, so that a run may go on without it.
//!
//! The object has to fail alone several times, and between any two of them another object
//! has to be read. So an outage makes no object unreadable: the run waits for its end.

use schemas::{Definitions, Millis};

use super::{
    Advice, Capability, Fetched, ListPage, ListRequest, Object, ObjectBatch, ReadError, Source,
    SourceError, lanes::ReadPage,
};

/// How often an object has to fail again after another one was read. Where a fifth of all
/// requests fails, a read fails by chance, with its three attempts, in 0.8%; so it does
/// three times in one of two million.
const PROOFS: usize = 2;
/// How many objects of a list are tried until another one can be read.
const OTHERS: usize = 3;

/// Reads objects of one type, and counts the requests.
pub(super) struct Reader<'a, S> {
    source: &'a S,
    object_type: &'a str,
    definitions: &'a Definitions,
    pub(super) requests: i64,
    /// Whether objects are read one by one, as the type has no batch read.
    one_by_one: bool,
    /// How HubSpot refused a batch read, if this reader has tried one.
    pub(super) refusal: Option<SourceError>,
}

/// The place in a list where not even a page of one object can be had.
#[derive(Debug)]
pub(super) struct Place {
    /// Which list.
    pub(super) archived: bool,
    /// The cursor there.
    pub(super) after: Option<String>,
    /// A page that could be had.
    pub(super) answered: Option<ReadPage>,
    /// The object's id, if the cursor is known to be that.
    pub(super) next_id: Option<i64>,
}

/// A page of the one object at such a place.
#[derive(Debug)]
pub(super) struct Found {
    /// With the object or only its id, and the cursor behind it.
    pub(super) page: Fetched<ListPage>,
    /// Whether the object was read after all.
    pub(super) is_read: bool,
}

impl<'a, S: Source> Reader<'a, S> {
    /// Reads objects one by one, unless the type `has_batch_read`.
    pub(super) fn new(
        source: &'a S,
        object_type: &'a str,
        definitions: &'a Definitions,
        has_batch_read: bool,
    ) -> Self {
        Self {
            source,
            object_type,
            definitions,
            requests: 0,
            one_by_one: !has_batch_read,
            refusal: None,
        }
    }

    /// Reads objects by id.
    pub(super) async fn read(
        &mut self,
        ids: &[i64],
        archived: bool,
    ) -> Result<Fetched<ObjectBatch>, ReadError> {
        if !self.one_by_one {
            self.requests += 1;
            let read = self
                .source
                .batch_read(self.object_type, ids, archived, self.definitions)
                .await;
            match read {
                Err(failed) if failed.error.advice == Advice::DoWithout(Capability::BatchRead) => {
                    self.one_by_one = true;
                    self.refusal = Some(failed.error);
                }
                read => return read,
            }
        }
        self.requests += i64::try_from(ids.len()).unwrap_or(i64::MAX);
        self.source
            .read_each(self.object_type, ids, archived, self.definitions)
            .await
    }

    /// Reads a page of a list.
    pub(super) async fn list(
        &mut self,
        request: ListRequest<'_>,
    ) -> Result<Fetched<ListPage>, ReadError> {
        self.requests += 1;
        self.source
            .list(self.object_type, request, self.definitions)
            .await
    }

    /// Reads an object again whose read has `failed`; `None` if it is unreadable. `other`
    /// is one that could be read.
    pub(super) async fn read_again(
        &mut self,
        id: i64,
        archived: bool,
        other: Option<i64>,
        failed: &SourceError,
    ) -> Result<Option<Fetched<ObjectBatch>>, SourceError> {
        for _ in 0..PROOFS {
            self.wait_for_answers().await?;
            if !self.reads_another(id, archived, other).await {
                return Err(failed.clone());
            }
            match self.read(&[id], archived).await {
                Ok(read) => return Ok(Some(read)),
                Err(again) if again.may_shrink => {}
                Err(again) => return Err(again.error),
            }
        }
        Ok(None)
    }

    /// Finds the object at a place of a list, where a page of it has `failed`: by a page
    /// of ids, or else by the cursor.
    pub(super) async fn find(
        &mut self,
        place: &Place,
        failed: &SourceError,
    ) -> Result<Found, SourceError> {
        self.wait_for_answers().await?;
        let request = ListRequest {
            archived: place.archived,
            after: place.after.as_deref(),
            limit: 1,
            ids_only: true,
        };
        let page = match (self.list(request).await, place.next_id) {
            (Ok(page), _) => Some(page),
            (Err(again), _) if !again.may_shrink => return Err(again.error),
            (Err(_), Some(id)) => Some(page_of(id, self.source.now())),
            (Err(_), None) => None,
        };
        let next = page.as_ref().and_then(|it| it.value.next.as_deref());
        let Some(other) = self.lists_another(place, next).await else {
            return Err(failed.clone());
        };
        let mut page = page.ok_or_else(|| unnamed(failed))?;
        let Some(id) = page.value.objects.first().map(|object| object.id) else {
            return Ok(Found {
                page,
                is_read: true,
            });
        };
        let read = self.read_again(id, place.archived, Some(other), failed);
        let Some(read) = read.await? else {
            return Ok(Found {
                page,
                is_read: false,
            });
        };
        page.sent_at = read.sent_at;
        page.value.objects = read.value.objects;
        page.value.objects.retain(|object| object.id == id);
        if page.value.objects.is_empty() && place.next_id == Some(id) {
            // It has gone meanwhile, so the list fails on another one behind it.
            return Err(unnamed(failed));
        }
        Ok(Found {
            page,
            is_read: true,
        })
    }

    /// Waits until HubSpot answers at all: reads of objects are repeated a few times only,
    /// this request for a minute.
    async fn wait_for_answers(&mut self) -> Result<(), SourceError> {
        self.requests += 1;
        self.source.definitions(self.object_type).await?;
        Ok(())
    }

    /// Reads an object elsewhere in the list, one by one, and returns its id. `next` is the
    /// cursor behind the place.
    async fn lists_another(&mut self, place: &Place, next: Option<&str>) -> Option<i64> {
        let answered = place.answered.as_ref().map(|it| it.after.as_deref());
        let first = place.after.is_some().then_some(None);
        let places = [answered, next.map(Some), first];
        let mut requests: Vec<_> = places
            .into_iter()
            .flatten()
            .map(|after| (place.archived, after))
            .collect();
        if place.answered.is_none() {
            // Nothing of the list was read yet, or it has only the one object.
            requests.push((!place.archived, None));
        }
        for (archived, after) in requests {
            let request = ListRequest {
                archived,
                after,
                limit: 1,
                ids_only: false,
            };
            let page = self.list(request).await;
            let found = page
                .ok()
                .and_then(|page| Some(page.value.objects.first()?.id));
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// Reads another object by its id: the one that could be read before, or else one of
    /// the first of both lists.
    async fn reads_another(&mut self, id: i64, archived: bool, other: Option<i64>) -> bool {
        if let Some(other) = other
            && self.finds(other, archived).await
        {
            return true;
        }
        for (archived, limit) in [
            (archived, 1),
            (!archived, 1),
            (archived, OTHERS),
            (!archived, OTHERS),
        ] {
            let request = ListRequest {
                archived,
                after: None,
                limit,
                ids_only: true,
            };
            let Ok(page) = self.list(request).await else {
                continue;
            };
            for object in page.value.objects.iter().filter(|it| it.id != id) {
                if self.finds(object.id, archived).await {
                    return true;
                }
            }
        }
        false
    }

    async fn finds(&mut self, id: i64, archived: bool) -> bool {
        let read = self.read(&[id], archived).await;
        read.is_ok_and(|read| !read.value.objects.is_empty())
    }
}

/// The page that a list should have at a cursor that is the id of its next object.
fn page_of(id: i64, now: Millis) -> Fetched<ListPage> {
    let object = Object {
        id,
        ..Object::default()
    };
    Fetched {
        sent_at: now,
        value: ListPage {
            objects: vec![object],
            next: Some(id.saturating_add(1).to_string()),
        },
    }
}

fn unnamed(failed: &SourceError) -> SourceError {
    SourceError {
        advice: Advice::EndRun,
        code: "object_unreadable",
        problem: format!(
            "HubSpot fails on one object of the list and does not say on which: {failed}"
        ),
        remedy: "none needed: the pass tries again, after longer and longer waits, and changes \
                 are read meanwhile; ask HubSpot's support if it lasts"
            .to_owned(),
    }
}
