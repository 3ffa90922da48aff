//! Reads one list, live or archived, from its checkpoint to its end, in lanes.

use std::{future::Future, pin::Pin, sync::Arc};

use futures::{StreamExt, stream::FuturesUnordered};
use schemas::Definitions;

use super::{
    Advice, Extent, Fetched, ListPage, Sink, Source, SourceError, StreamContext,
    lanes::{Bounds, Lanes, PageRequest, Part, Spacing},
    records::records,
    session::{Session, Stop},
};

/// Lanes where latency is low or not known: requests also wait for the commits, not
/// only for HubSpot.
const FEWEST_LANES: usize = 12;

/// An answer and its request.
struct Answer {
    request: PageRequest,
    result: Result<Fetched<ListPage>, SourceError>,
}

/// What the reads of both lists of one pass share.
#[derive(Default)]
pub(super) struct Pass<'a> {
    /// The request for the size of the object type.
    asked: Option<ExtentRequest<'a>>,
    extent: Option<Extent>,
    /// Whether the list read before had cursors that can be ids.
    has_id_cursors: bool,
}

type ExtentRequest<'a> =
    Pin<Box<dyn Future<Output = Result<Fetched<Extent>, SourceError>> + Send + 'a>>;

impl<'a> Pass<'a> {
    /// Asks for the size of the object type, to be answered while the lists are read.
    pub(super) fn of<S: Source>(source: &'a S, object_type: &'a str) -> Self {
        Self {
            asked: Some(Box::pin(source.extent(object_type))),
            ..Self::default()
        }
    }

    /// The size of the object type. May be dropped at the await and called again.
    async fn answered(&mut self) -> Result<&Extent, SourceError> {
        if let Some(asked) = &mut self.asked {
            let answer = asked.await;
            self.asked = None;
            self.extent = Some(answer?.value);
        }
        Ok(self.extent.get_or_insert_default())
    }

    /// Where the lanes of a list can start.
    fn bounds(&self, archived: bool) -> Option<Bounds> {
        let extent = self.extent.as_ref()?;
        Some(Bounds {
            last_id: extent.largest_ids.iter().copied().max()?,
            spacing: Spacing::of_ids(&extent.largest_ids)?,
            // The search finds live objects only.
            total: (!archived).then_some(extent.total),
        })
    }
}

/// Reads the list with one request in flight per lane, while earlier pages are being
/// submitted.
pub(super) async fn read<S: Source, K: Sink>(
    session: &mut Session<'_, S, K>,
    archived: bool,
    pass: &mut Pass<'_>,
) -> Result<(), Stop> {
    let source = session.source;
    let stream = session.stream;
    let position = session
        .run
        .list
        .as_ref()
        .map(|list| list.lanes.clone())
        .unwrap_or_default();
    let mut lanes = Lanes::new(position, session.checkpoint.single_lane);
    lanes.set_limit(overlap(source, stream));
    if pass.has_id_cursors {
        lanes.trust_cursors();
    }
    if let Some(bounds) = pass.bounds(archived) {
        lanes.set_bounds(bounds);
    }
    let definitions = Arc::clone(&session.definitions);
    let mut in_flight = FuturesUnordered::new();
    // The end of the live list is the end of the pass, which shows its size.
    while !lanes.is_done() || (pass.asked.is_some() && !archived) {
        lanes.set_limit(overlap(source, stream));
        while session.outbox.has_capacity()
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
        let taken = tokio::select! {
            biased;
            answer = pass.answered(), if pass.asked.is_some() => match answer {
                Ok(extent) => {
                    session.expect_total(extent.total);
                    if let Some(bounds) = pass.bounds(archived) {
                        lanes.set_bounds(bounds);
                    }
                    Ok(())
                }
                Err(error) => Err(error.into()),
            },
            submitted = session.outbox.advance(), if !session.outbox.is_empty() => {
                submitted?;
                Ok(())
            }
            Some(answer) = in_flight.next(), if session.outbox.has_capacity() => {
                take(session, &mut lanes, answer)
            }
        };
        if let Err(stop) = taken {
            // What was read before is still valid.
            session.outbox.drain().await?;
            return Err(stop);
        }
    }
    pass.has_id_cursors |= lanes.has_id_cursors();
    Ok(())
}

/// How many requests of a list may overlap.
fn overlap<S: Source>(source: &S, stream: &StreamContext) -> usize {
    let most = stream.settings.lanes;
    let fewest = most.min(FEWEST_LANES);
    source.overlap().unwrap_or(fewest).clamp(fewest, most)
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
    let was_single = lanes.is_single();
    let taken = match (request.part, result) {
        (Part::Probe(at), Err(error)) if error.advice == Advice::EndRun => {
            lanes.refuse_probe(at).map(|()| None)
        }
        (_, Err(error)) => return Err(error.into()),
        (Part::Probe(at), Ok(mut page)) => lanes
            .take_probe(at, &mut page.value)
            .map(|is_lane| is_lane.then_some(page)),
        (Part::Lane(key), Ok(mut page)) => {
            if page.value.next.is_some() && page.value.next == request.after {
                return Err(stuck().into());
            }
            lanes.take_page(key, &mut page.value).map(|()| Some(page))
        }
    };
    let Ok(taken) = taken else {
        session.checkpoint.single_lane = true;
        return Err(Stop::Restart);
    };
    if lanes.is_single() && !was_single {
        tracing::info!(
            stream = session.stream.object_type,
            "the list's cursor is not an id, reading in one lane"
        );
        session.checkpoint.single_lane = true;
    }
    let Some(page) = taken else { return Ok(()) };
    if let Some(position) = &mut session.run.list {
        position.lanes = lanes.to_checkpoint();
    }
    let sequence = session.sequence(page.sent_at);
    let mut out = Vec::new();
    let objects = Fetched {
        sent_at: page.sent_at,
        value: page.value.objects,
    };
    records(objects, sequence, &mut out);
    session.send(out);
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
