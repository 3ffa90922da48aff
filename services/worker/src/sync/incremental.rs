//! Reads changes: searches the ids in a window of last-modified times, in the order
//! of ids, and reads each object in its newest state.
//!
//! Paging by the last id avoids HubSpot's cap on results and is exact even if many
//! records share a millisecond. It returns every id at most once per run.

use std::sync::Arc;

use futures::{
    StreamExt,
    stream::{FuturesOrdered, FuturesUnordered},
};
use schemas::{Definitions, SearchPosition};

use super::{
    Advice, Fetched, Findings, Object, Search, Sink, Source, SourceError,
    records::records,
    session::{Session, Stop},
    windows,
};
use crate::schedule::Reason;

/// Ids per batch read.
pub(super) const BATCH_SIZE: usize = 100;
/// Batch reads in flight: more than one search page needs, so that neither search nor
/// reads wait for the other.
const MAX_READS: usize = 8;
/// How many empty pages in a row that name a next one are accepted.
const MAX_EMPTY_PAGES: u32 = 5;

/// The result of reading one batch of ids.
pub(super) struct BatchRead {
    /// Ascending.
    ids: Vec<i64>,
    /// In the order of the requests; each id occurs at most once in all of them.
    pub(super) found: Vec<Fetched<Vec<Object>>>,
    /// Objects with an id that was not requested: winners of a merge.
    pub(super) winners: Vec<Object>,
    /// Ids that were not found, with the time of the last request.
    pub(super) gone: Fetched<Vec<i64>>,
    /// How many requests it took.
    pub(super) requests: i64,
}

/// Reads the run's window.
pub(super) async fn read<S: Source, K: Sink>(session: &mut Session<'_, S, K>) -> Result<(), Stop> {
    let cursor = session.cursor.unwrap_or(session.run.started_at);
    let settings = &session.stream.settings;
    let position = match (session.run.search.clone(), session.reason) {
        (Some(position), _) => position,
        (None, Reason::Late) => windows::before_cursor(cursor, settings.late_span),
        (None, _) => windows::since_cursor(cursor, session.run.started_at, settings.index_lag),
    };
    session.run.search = Some(position.clone());
    let result = read_window(session, position).await;
    // What was read before a failure is still valid.
    session.outbox.drain().await?;
    result?;
    if session.reason != Reason::Late {
        session.confirm_definitions().await?;
    }
    Ok(())
}

/// Searches ahead while batches are read and pages are submitted.
async fn read_window<S: Source, K: Sink>(
    session: &mut Session<'_, S, K>,
    position: SearchPosition,
) -> Result<(), Stop> {
    let source = session.source;
    let object_type = session.stream.object_type.as_str();
    let definitions = Arc::clone(&session.definitions);
    let mut after_id = position.last_id;
    let mut more = true;
    let mut empty_pages = 0;
    let mut searching = FuturesUnordered::new();
    let mut reading = FuturesOrdered::new();
    while more || !reading.is_empty() {
        if more && searching.is_empty() && reading.len() < MAX_READS {
            let search = Search {
                from: position.from,
                to: position.window_to,
                after_id,
            };
            searching.push(source.search(object_type, search));
        }
        tokio::select! {
            submitted = session.outbox.advance(), if !session.outbox.is_empty() => submitted?,
            Some(read) = reading.next(), if session.outbox.has_capacity() => {
                take(session, &position, read?);
            }
            Some(found) = searching.next() => {
                let found = found?.value;
                session.run.requests += 1;
                let ids = windows::keyset(found.ids, after_id);
                more = found.more;
                empty_pages = if ids.is_empty() { empty_pages + 1 } else { 0 };
                if more && empty_pages > MAX_EMPTY_PAGES {
                    return Err(stuck().into());
                }
                after_id = ids.last().copied().unwrap_or(after_id);
                for batch in ids.chunks(BATCH_SIZE) {
                    reading.push_back(read_batch(source, object_type, &definitions, batch.to_vec()));
                }
            }
        }
    }
    Ok(())
}

/// Queues the records of a batch for the sink.
fn take<S: Source, K: Sink>(
    session: &mut Session<'_, S, K>,
    position: &SearchPosition,
    read: BatchRead,
) {
    session.run.requests += read.requests;
    let mut out = Vec::with_capacity(read.ids.len());
    let mut suspects = read.gone.value;
    for mut part in read.found {
        part.value
            .retain(|object| windows::contains(position, object.updated_at));
        records(part, &mut out, &mut suspects);
    }
    let findings = Findings {
        suspects,
        ..Session::<S, K>::findings(read.gone.sent_at)
    };
    if let (Some(position), Some(last_id)) = (&mut session.run.search, read.ids.last()) {
        position.last_id = *last_id;
    }
    if !out.is_empty() || !findings.suspects.is_empty() {
        session.send(out, findings);
    }
}

/// Reads objects by id: as live ones, the missing ones as archived, and then both
/// again, as an object can move between the two.
pub(super) async fn read_batch<S: Source>(
    source: &S,
    object_type: &str,
    definitions: &Definitions,
    ids: Vec<i64>,
) -> Result<BatchRead, SourceError> {
    let mut found = Vec::new();
    let mut winners = Vec::new();
    let mut missing = ids.clone();
    let mut sent_at = 0;
    let mut requests = 0;
    for archived in [false, true, false, true] {
        if missing.is_empty() {
            break;
        }
        let answer = source
            .batch_read(object_type, &missing, archived, definitions)
            .await?;
        sent_at = answer.sent_at;
        requests += 1;
        let mut objects = answer.value.objects;
        objects.sort_by_key(|object| object.id);
        objects.dedup_by_key(|object| object.id);
        let (asked, others): (Vec<_>, Vec<_>) = objects
            .into_iter()
            .partition(|object| missing.binary_search(&object.id).is_ok());
        winners.extend(others);
        missing.retain(|id| asked.binary_search_by_key(id, |object| object.id).is_err());
        found.push(Fetched {
            sent_at,
            value: asked,
        });
    }
    Ok(BatchRead {
        ids,
        found,
        winners,
        gone: Fetched {
            sent_at,
            value: missing,
        },
        requests,
    })
}

fn stuck() -> SourceError {
    SourceError {
        advice: Advice::EndRun,
        code: "search_stuck",
        problem: "the search returns empty pages that name a next one".to_owned(),
        remedy: "none needed: the window is read again in a minute".to_owned(),
    }
}
