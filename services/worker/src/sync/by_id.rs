//! Reads objects by their ids, and finds out which of them HubSpot cannot give.

use schemas::Definitions;

use super::{Fetched, Object, Source, SourceError, unreadable::Reader};

/// Ids per batch read, the most that HubSpot allows.
pub(super) const BATCH_SIZE: usize = 100;

/// The result of reading one batch of ids.
#[derive(Debug, Default)]
pub(super) struct BatchRead {
    /// Ascending.
    pub(super) ids: Vec<i64>,
    /// In the order of the requests; each id occurs at most once in all of them.
    pub(super) found: Vec<Fetched<Vec<Object>>>,
    /// Objects with an id that was not requested: winners of a merge.
    pub(super) winners: Vec<Object>,
    /// Ids that were not found, with the time of the first of the last requests.
    pub(super) gone: Fetched<Vec<i64>>,
    /// Ids that HubSpot did not give even alone.
    pub(super) unreadable: Vec<i64>,
    /// How many requests it took.
    pub(super) requests: i64,
    /// How HubSpot refused to read several objects at once, if it did.
    pub(super) refusal: Option<SourceError>,
}

/// Reads objects by id: as live ones, the missing ones as archived, and then both
/// again, as an object can move between the two. `ids` are ascending.
pub(super) async fn read_batch<S: Source>(
    source: &S,
    object_type: &str,
    definitions: &Definitions,
    ids: Vec<i64>,
    has_batch_read: bool,
) -> Result<BatchRead, SourceError> {
    let mut reader = Reader::new(source, object_type, definitions, has_batch_read);
    let mut batch = BatchRead {
        ids: ids.clone(),
        gone: Fetched {
            sent_at: source.now(),
            value: Vec::new(),
        },
        ..BatchRead::default()
    };
    let mut missing = ids;
    for archived in [false, true, false, true] {
        if missing.is_empty() {
            break;
        }
        missing = read_in_parts(&mut reader, &mut batch, missing, archived).await?;
    }
    batch.gone.value = missing;
    batch.requests = reader.requests;
    batch.refusal = reader.refusal;
    Ok(batch)
}

/// Reads live or archived objects. A batch that HubSpot fails on is halved down to the
/// objects that it cannot give. Returns the ids that were not found.
async fn read_in_parts<S: Source>(
    reader: &mut Reader<'_, S>,
    batch: &mut BatchRead,
    ids: Vec<i64>,
    archived: bool,
) -> Result<Vec<i64>, SourceError> {
    let mut missing = Vec::new();
    let mut sent_at = None;
    let mut parts = vec![ids];
    while let Some(mut part) = parts.pop() {
        let answer = match reader.read(&part, archived).await {
            Ok(answer) => answer,
            Err(failed) if !failed.may_shrink => return Err(failed.error),
            Err(failed) => {
                let &[id] = part.as_slice() else {
                    let second = part.split_off(part.len() / 2);
                    parts.extend([second, part]);
                    continue;
                };
                let last = batch.found.last().and_then(|it| it.value.last());
                let other = last.filter(|it| it.archived == archived).map(|it| it.id);
                let again = reader.read_again(id, archived, other, &failed.error);
                let Some(answer) = again.await? else {
                    batch.unreadable.push(id);
                    continue;
                };
                answer
            }
        };
        let first_sent_at = sent_at.get_or_insert(answer.sent_at);
        *first_sent_at = answer.sent_at.min(*first_sent_at);
        missing.extend(take(batch, &part, answer.sent_at, answer.value.objects));
    }
    batch.gone.sent_at = sent_at.unwrap_or(batch.gone.sent_at);
    missing.sort_unstable();
    Ok(missing)
}

/// Takes the objects of an answer. Returns the ids that it lacks.
fn take(batch: &mut BatchRead, ids: &[i64], sent_at: i64, mut objects: Vec<Object>) -> Vec<i64> {
    objects.sort_by_key(|object| object.id);
    objects.dedup_by_key(|object| object.id);
    let (asked, others): (Vec<_>, Vec<_>) = objects
        .into_iter()
        .partition(|object| ids.binary_search(&object.id).is_ok());
    batch.winners.extend(others);
    let is_missing = |id: &&i64| asked.binary_search_by_key(*id, |object| object.id).is_err();
    let missing = ids.iter().filter(is_missing).copied().collect();
    batch.found.push(Fetched {
        sent_at,
        value: asked,
    });
    missing
}
