//! Reads the objects that seem to be gone by their ids. One that two such runs did
//! not find, neither live nor archived, is deleted.

use std::sync::Arc;

use super::{
    Advice, Findings, NotFound, Search, Sink, Source, SourceError,
    by_id::{BATCH_SIZE, read_batch},
    records::records,
    session::{Session, Stop},
};
use crate::crash;

/// Code of the error that says that deletions wait for a person.
pub(crate) const DELETIONS_WAIT: &str = "deletions_wait";

/// So many deletions need no further proof.
const FEW: usize = 1_000;

/// Reads all suspects.
pub(super) async fn read<S: Source, K: Sink>(session: &mut Session<'_, S, K>) -> Result<(), Stop> {
    let suspects = session.sink.suspects();
    check_number(session, suspects.live_objects, suspects.live).await?;
    let definitions = Arc::clone(&session.definitions);
    crash::point(crash::Point::BeforeConfirm);
    for ids in suspects.ids.chunks(BATCH_SIZE) {
        let object_type = session.stream.object_type.as_str();
        let read = read_batch(session.source, object_type, &definitions, ids.to_vec()).await?;
        session.run.requests += read.requests;
        session.skip(&read.unreadable);
        let mut out = Vec::new();
        for part in read.found {
            records(part, &mut out, &mut Vec::new());
        }
        let winners = &read.winners;
        let not_found = read.gone.value.iter().map(|id| NotFound {
            id: *id,
            merged_into: winners
                .iter()
                .find(|it| it.merged_ids.contains(id))
                .map(|it| it.id),
        });
        let findings = Findings {
            not_found: not_found.collect(),
            // The next pass judges them again.
            unreadable: read.unreadable,
            confirm_interval: session.stream.settings.confirm_interval,
            ..Session::<S, K>::findings(read.gone.sent_at)
        };
        session.send(out, findings);
        session.outbox.drain().await?;
    }
    Ok(())
}

/// Many deletions at once may be a fault of HubSpot's or a token that has lost rights:
/// they wait until HubSpot's total says the same, or a person does.
async fn check_number<S: Source, K: Sink>(
    session: &mut Session<'_, S, K>,
    live: usize,
    live_suspects: usize,
) -> Result<(), Stop> {
    if live_suspects <= FEW.max(live / 100) || session.stream.deletions_confirmed {
        return Ok(());
    }
    let all = Search {
        from: 0,
        to: None,
        after_id: 0,
    };
    let found = session
        .source
        .search(&session.stream.object_type, all)
        .await?;
    session.run.requests += 1;
    let total = usize::try_from(found.value.total).unwrap_or(0);
    let left = live - live_suspects;
    if left.abs_diff(total) <= total / 100 {
        return Ok(());
    }
    Err(SourceError {
        advice: Advice::EndRun,
        code: DELETIONS_WAIT,
        problem: format!(
            "{live_suspects} of {live} objects seem to be gone, but HubSpot counts {total}: none \
             is deleted"
        ),
        remedy: "check the token's scopes; the objects are read again, and are deleted once \
                 HubSpot's total agrees within 1% or a person has confirmed it"
            .to_owned(),
    }
    .into())
}
