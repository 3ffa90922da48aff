//! Reads changes: searches the ids in a window of last-modified times, in the order
//! of ids, and reads each object in its newest state.
//!
//! An object that HubSpot cannot give is skipped, and the window goes on. Its change is
//! then read by the next runs over late changes, for as long as they read back, or else
//! by the next full pass.
//!
//! Paging by the last id avoids HubSpot's cap on results and is exact even if many
//! records share a millisecond. It returns every id at most once per run.

use std::sync::Arc;

use futures::{
    StreamExt,
    stream::{FuturesOrdered, FuturesUnordered},
};
use schemas::SearchPosition;

use super::{
    Advice, Capability, Findings, Search, Sink, Source, SourceError,
    by_id::{BATCH_SIZE, BatchRead, read_batch},
    records::records,
    session::{Session, Stop},
    windows,
};
use crate::schedule::Reason;

/// Batch reads in flight: more than one search page needs, so that neither search nor
/// reads wait for the other.
const MAX_READS: usize = 8;
/// How many empty pages in a row that name a next one are accepted.
const MAX_EMPTY_PAGES: u32 = 5;

/// Reads the run's window.
pub(super) async fn read<S: Source, K: Sink>(session: &mut Session<'_, S, K>) -> Result<(), Stop> {
    let cursor = session.cursor.unwrap_or(session.run.started_at);
    let settings = &session.stream.settings;
    let position = match (session.run.search.clone(), session.reason) {
        (Some(position), _) => position,
        (None, Reason::Late) => {
            let last = session.last_late_at.unwrap_or(cursor);
            windows::before_cursor(cursor, last, settings.late_span)
        }
        (None, _) => windows::since_cursor(cursor, session.run.started_at, settings.index_lag),
    };
    session.run.search = Some(position.clone());
    let result = read_window(session, position).await;
    // What was read before a failure is still valid.
    session.outbox.drain().await?;
    result?;
    session.can_use(Capability::Search);
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
    let has_batch_read = session.may_use(Capability::BatchRead);
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
                highest: false,
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
                    let ids = batch.to_vec();
                    let read = read_batch(source, object_type, &definitions, ids, has_batch_read);
                    reading.push_back(read);
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
    session.learn_of_batch_reads(read.refusal.as_ref());
    session.skip(&read.unreadable);
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

fn stuck() -> SourceError {
    SourceError {
        advice: Advice::EndRun,
        code: "search_stuck",
        problem: "the search returns empty pages that name a next one".to_owned(),
        remedy: "none needed: the window is read again in a minute".to_owned(),
    }
}
