//! Reads one list, live or archived, from its checkpoint to its end, in lanes.

use std::sync::Arc;

use futures::{StreamExt, stream::FuturesUnordered};
use schemas::Definitions;

use super::{
    Advice, Covered, Fetched, Findings, ListPage, Sink, Source, SourceError,
    lanes::{Lanes, PageRequest},
    records::records,
    session::{Session, Stop},
};

/// An answer and its request.
struct Answer {
    request: PageRequest,
    result: Result<Fetched<ListPage>, SourceError>,
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
    let mut lanes = Lanes::new(position, limit);
    let definitions = Arc::clone(&session.definitions);
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
            in_flight.push(fetch(
                source,
                &stream.object_type,
                archived,
                &definitions,
                request,
            ));
        }
        tokio::select! {
            submitted = session.outbox.advance(), if !session.outbox.is_empty() => submitted?,
            Some(answer) = in_flight.next(), if session.outbox.has_capacity() => {
                if let (Some(ids), Ok(page)) = (&mut read_ids, &answer.result) {
                    ids.extend(page.value.objects.iter().map(|it| it.id));
                }
                if let Err(stop) = take(session, &mut lanes, answer) {
                    // What was read before is still valid.
                    session.outbox.drain().await?;
                    return Err(stop);
                }
                if lanes.is_split() {
                    read_ids = None;
                }
            }
        }
    }
    if lanes.has_hole() {
        // Another full pass reads what was not.
        session.run.definitions_grew = true;
    }
    if let Some(mut ids) = read_ids.filter(|_| lanes.is_single()) {
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

async fn fetch<S: Source>(
    source: &S,
    object_type: &str,
    archived: bool,
    definitions: &Definitions,
    request: PageRequest,
) -> Answer {
    let result = source
        .list(object_type, archived, request.after.as_deref(), definitions)
        .await;
    Answer { request, result }
}

/// Queues the records of an answer for the sink.
fn take<S: Source, K: Sink>(
    session: &mut Session<'_, S, K>,
    lanes: &mut Lanes,
    Answer { request, result }: Answer,
) -> Result<(), Stop> {
    session.run.requests += 1;
    let was_single = lanes.is_single();
    let taken = match (request.probe, result) {
        (Some(_), Err(error)) if error.advice == Advice::EndRun => {
            lanes.refuse_probe().map(|()| None)
        }
        (_, Err(error)) => return Err(error.into()),
        (Some(at), Ok(mut page)) => lanes
            .take_probe(request.key, at, &mut page.value)
            .map(|ids| ids.map(|ids| (page, ids))),
        (None, Ok(mut page)) => {
            if page.value.next.is_some() && page.value.next == request.after {
                return Err(stuck().into());
            }
            lanes
                .take_page(request.key, &mut page.value)
                .map(|ids| Some((page, ids)))
        }
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
    let Some((page, ids)) = taken else {
        return Ok(());
    };
    let archived = session.run.list.as_ref().is_some_and(|it| it.archived);
    if let Some(position) = &mut session.run.list {
        position.lanes = lanes.to_checkpoint();
    }
    let mut findings = Session::<S, K>::findings(page.sent_at);
    let mut out = Vec::new();
    let objects = Fetched {
        sent_at: page.sent_at,
        value: page.value.objects,
    };
    records(objects, &mut out, &mut findings.suspects);
    if !lanes.is_single() && !ids.is_empty() {
        findings.covered = Some(Covered {
            archived,
            ids,
            present: None,
        });
    }
    session.send(out, findings);
    Ok(())
}

fn stuck() -> SourceError {
    SourceError {
        advice: Advice::EndRun,
        code: "list_stuck",
        problem: "the list names the same page as its next one".to_owned(),
        remedy: "none needed: the pass starts again in a minute".to_owned(),
    }
}
