//! Reads one list, live or archived, from its checkpoint to its end, in lanes.
//!
//! Pages that cannot be had shrink; the one object that cannot be had alone is skipped and
//! counted, and tried again by the next pass.

use std::{ops::RangeInclusive, sync::Arc};

use futures::{StreamExt, stream::FuturesUnordered};

use super::{
    Advice, Capability, Covered, Fetched, Findings, ListPage, ListRequest, ReadError, Sink, Source,
    SourceError,
    lanes::{Lanes, Mismatch, PageRequest},
    records::records,
    session::{Session, Stop},
    unreadable::{Found, Place, Reader},
};

/// An answer and its request.
struct Answer {
    request: PageRequest,
    result: Result<Found, ReadError>,
    /// How many requests it took.
    requests: i64,
}

/// Reads the list with one request in flight per lane, while earlier pages are being
/// submitted.
pub(super) async fn read<S: Source, K: Sink>(
    session: &mut Session<'_, S, K>,
    archived: bool,
) -> Result<(), Stop> {
    let source = session.source;
    let stream = session.stream;
    let position = session
        .run
        .list
        .as_ref()
        .map(|list| list.lanes.clone())
        .unwrap_or_default();
    let limit = if session.single_lane {
        1
    } else {
        stream.settings.lanes
    };
    // Without the order of ids only a whole pass says what the list lacks. It has to be
    // made in one go, as the ids read are not kept.
    let mut read_ids = position.is_empty().then(Vec::new);
    let mut lanes = Lanes::new(position, limit, session.extent(archived));
    let definitions = Arc::clone(&session.definitions);
    let has_batch_read = session.may_use(Capability::BatchRead);
    let mut in_flight = FuturesUnordered::new();
    while !lanes.is_done() {
        if in_flight.is_empty()
            && let Some(wait) = session.spent_share()
        {
            session.outbox.drain().await?;
            return Err(wait.into());
        }
        while session.outbox.has_capacity()
            && session.spent_share().is_none()
            && let Some(request) = lanes.next_request()
        {
            let place = Place {
                archived,
                answered: lanes.answered(),
                next_id: lanes.next_id(request.key),
                after: request.after.clone(),
            };
            let reader = Reader::new(source, &stream.object_type, &definitions, has_batch_read);
            in_flight.push(fetch(reader, place, request));
        }
        tokio::select! {
            submitted = session.outbox.advance(), if !session.outbox.is_empty() => submitted?,
            Some(answer) = in_flight.next(), if session.outbox.has_capacity() => {
                if let (Some(ids), Ok(found)) = (&mut read_ids, &answer.result) {
                    // What is skipped is not missing.
                    ids.extend(found.page.value.objects.iter().map(|it| it.id));
                }
                if let Err(stop) = take(session, &mut lanes, answer) {
                    // What was read before is still valid.
                    session.outbox.drain().await?;
                    return Err(stop);
                }
                if lanes.is_split() {
                    read_ids = None;
                    session.lists_are_in_order = true;
                }
            }
        }
    }
    if lanes.has_hole() {
        // Another full pass reads what was not.
        session.run.definitions_grew = true;
    }
    if let Some(mut ids) = read_ids.filter(|_| lanes.is_single()) {
        ids.extend(&session.unreadable);
        ids.sort_unstable();
        let findings = Findings {
            covered: Some(Covered {
                archived,
                ids: i64::MIN..=i64::MAX,
                present: Some(ids),
            }),
            // What was written since is not judged.
            judged_before: session.run.list.as_ref().map(|list| list.began_at),
            ..Session::<S, K>::findings(source.now())
        };
        session.send(Vec::new(), findings);
    }
    Ok(())
}

/// Reads a page. If not even one object can be had, it is found out which one.
async fn fetch<S: Source>(mut reader: Reader<'_, S>, place: Place, request: PageRequest) -> Answer {
    let page = ListRequest {
        archived: place.archived,
        after: place.after.as_deref(),
        limit: request.limit,
        ids_only: false,
    };
    let result = match reader.list(page).await {
        Ok(page) => Ok(Found {
            page,
            is_read: true,
        }),
        Err(failed) if failed.may_shrink && request.limit == 1 && request.probe.is_none() => {
            let found = reader.find(&place, &failed.error).await;
            found.map_err(ReadError::from)
        }
        Err(failed) => Err(failed),
    };
    let is_stuck = |found: &Found| {
        let next = &found.page.value.next;
        request.probe.is_none() && next.is_some() && *next == request.after
    };
    let result = match result {
        Ok(found) if is_stuck(&found) => Err(stuck().into()),
        result => result,
    };
    Answer {
        request,
        result,
        requests: reader.requests,
    }
}

/// Queues the records of an answer for the sink.
fn take<S: Source, K: Sink>(
    session: &mut Session<'_, S, K>,
    lanes: &mut Lanes,
    answer: Answer,
) -> Result<(), Stop> {
    session.run.requests += answer.requests;
    let was_single = lanes.is_single();
    let taken = match answer.result {
        Err(failed) if failed.may_shrink => {
            lanes.fail(&answer.request);
            return Ok(());
        }
        Err(failed) => match answer.request.probe {
            Some(at) if failed.error.advice == Advice::EndRun => {
                lanes.refuse_probe(at).map(|()| None)
            }
            _ => return Err(failed.error.into()),
        },
        Ok(found) => take_found(session, lanes, &answer.request, found),
    };
    let Ok(taken) = taken else {
        session.single_lane = true;
        return Err(Stop::Restart);
    };
    if lanes.is_single() && !was_single {
        tracing::info!(
            stream = session.stream.object_type,
            "the list's cursor is not an id, reading in one lane"
        );
        session.single_lane = true;
    }
    if let Some((page, ids)) = taken {
        if let Some(position) = &mut session.run.list {
            position.lanes = lanes.to_checkpoint();
        }
        let ids = Some(ids).filter(|ids| !lanes.is_single() && !ids.is_empty());
        send(session, page, ids);
    }
    Ok(())
}

/// Takes a page into its lane. Returns what of it is this lane's, with the ids that the
/// list has not beside it; nothing for a probe that makes no lane.
fn take_found<S: Source, K: Sink>(
    session: &mut Session<'_, S, K>,
    lanes: &mut Lanes,
    request: &PageRequest,
    Found { mut page, is_read }: Found,
) -> Result<Option<Taken>, Mismatch> {
    if let Some(at) = request.probe {
        let ids = lanes.take_probe(at, &mut page.value)?;
        return Ok(ids.map(|ids| (page, ids)));
    }
    if is_read {
        let ids = lanes.take_page(request.key, &mut page.value)?;
        return Ok(Some((page, ids)));
    }
    let (skipped, ids) = lanes.skip(request.key, &mut page.value)?;
    session.skip(skipped.as_slice());
    Ok(Some((page, ids)))
}

/// A page and the ids that were read with it.
type Taken = (Fetched<ListPage>, RangeInclusive<i64>);

/// Queues the records of a page. The list has no others in `ids`.
fn send<S: Source, K: Sink>(
    session: &mut Session<'_, S, K>,
    page: Fetched<ListPage>,
    ids: Option<RangeInclusive<i64>>,
) {
    let archived = session.run.list.as_ref().is_some_and(|it| it.archived);
    let mut findings = Session::<S, K>::findings(page.sent_at);
    findings.covered = ids.map(|ids| {
        let skipped: Vec<i64> = session.unreadable.range(ids.clone()).copied().collect();
        let listed = page.value.objects.iter().map(|it| it.id);
        // Skipped in the other list, for example.
        let present = (!skipped.is_empty()).then(|| {
            let mut present: Vec<i64> = listed.chain(skipped).collect();
            present.sort_unstable();
            present
        });
        Covered {
            archived,
            ids,
            present,
        }
    });
    let mut out = Vec::new();
    let objects = Fetched {
        sent_at: page.sent_at,
        value: page.value.objects,
    };
    records(objects, &mut out, &mut findings.suspects);
    session.send(out, findings);
}

fn stuck() -> SourceError {
    SourceError {
        advice: Advice::EndRun,
        code: "list_stuck",
        problem: "the list names the same page as its next one".to_owned(),
        remedy: "none needed: the pass starts again in a minute".to_owned(),
    }
}
