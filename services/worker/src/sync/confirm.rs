//! Reads the objects that seem to be gone by their ids. One that two such runs did
//! not find, neither live nor archived, is deleted.

use std::sync::Arc;

use super::{
    Advice, Capability, Findings, NotFound, Search, Sink, Source, SourceError, Suspects,
    by_id::{BATCH_SIZE, read_batch},
    records::records,
    session::{Session, Stop},
};
use crate::crash;

/// Code of the error that says that deletions wait for a person.
pub(crate) const DELETIONS_WAIT: &str = "deletions_wait";

/// So many deletions need no further proof, if they are at most 1% of the stream.
const FEW: usize = 10;
/// So many, or 1%, need none where HubSpot does not say how many objects there are.
const FEW_WITHOUT_COUNT: usize = 1_000;
/// Numbers that differ by so many, or by 1%, agree: objects come and go meanwhile.
const TOLERANCE: i64 = 2;

/// Reads all suspects.
pub(super) async fn read<S: Source, K: Sink>(session: &mut Session<'_, S, K>) -> Result<(), Stop> {
    let suspects = session.sink.suspects();
    check_number(session, &suspects).await?;
    let definitions = Arc::clone(&session.definitions);
    crash::point(crash::Point::BeforeConfirm);
    for ids in suspects.ids.chunks(BATCH_SIZE) {
        let object_type = session.stream.object_type.as_str();
        let has_batch_read = session.may_use(Capability::BatchRead);
        let ids = ids.to_vec();
        let read = read_batch(
            session.source,
            object_type,
            &definitions,
            ids,
            has_batch_read,
        );
        let read = read.await?;
        session.run.requests += read.requests;
        session.learn_of_batch_reads(read.refusal.as_ref());
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

/// Many deletions at once may be a fault of HubSpot's, or of a token that sees no longer
/// all objects: they wait until HubSpot's count of the account's objects agrees with what
/// is left and with what the token sees, or until a person confirms them.
async fn check_number<S: Source, K: Sink>(
    session: &mut Session<'_, S, K>,
    suspects: &Suspects,
) -> Result<(), Stop> {
    if session.stream.deletions_confirmed || are_all(suspects, is_small) {
        return Ok(());
    }
    let object_type = session.stream.object_type.as_str();
    let count = session.source.record_count(object_type).await?;
    session.run.requests += 1;
    let Some(count) = count else {
        if are_all(suspects, |part, all| {
            part <= FEW_WITHOUT_COUNT.max(all / 100)
        }) {
            return Ok(());
        }
        return Err(wait(suspects, "HubSpot does not say how many there are").into());
    };
    session.run.requests += 1;
    let found = match session.source.search(object_type, Search::HIGHEST).await {
        Err(error) if error.advice == Advice::DoWithout(Capability::Search) => {
            return Err(wait(suspects, "the type has no search to count them by").into());
        }
        found => found?,
    };
    let seen = found.value.total;
    let left = suspects.live_objects.saturating_sub(suspects.live);
    let left = i64::try_from(left).unwrap_or(i64::MAX);
    if agree(left, count) && agree(seen, count) {
        return Ok(());
    }
    let reason = format!("HubSpot counts {count} live ones, of which this token sees {seen}");
    Err(wait(suspects, &reason).into())
}

/// Whether this holds for the live and for the archived suspects: of so many objects.
fn are_all(suspects: &Suspects, holds: impl Fn(usize, usize) -> bool) -> bool {
    holds(suspects.live, suspects.live_objects)
        && holds(suspects.archived, suspects.archived_objects)
}

fn is_small(part: usize, all: usize) -> bool {
    part <= FEW && part.saturating_mul(100) <= all
}

fn agree(a: i64, b: i64) -> bool {
    a.abs_diff(b) <= TOLERANCE.max(b / 100).unsigned_abs()
}

fn wait(suspects: &Suspects, reason: &str) -> SourceError {
    let Suspects {
        live,
        live_objects,
        archived,
        archived_objects,
        ..
    } = suspects;
    SourceError {
        advice: Advice::EndRun,
        code: DELETIONS_WAIT,
        problem: format!(
            "{live} of {live_objects} live objects and {archived} of {archived_objects} archived \
             ones seem to be gone, but {reason}: none is deleted"
        ),
        remedy: "check the token's scopes; the objects are read again, and are deleted once \
                 HubSpot's count agrees within 1% or a person has confirmed it"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_a_stream_or_more_than_a_few_need_a_proof() {
        let are_small = |live, live_objects, archived| {
            let suspects = Suspects {
                live,
                live_objects,
                archived,
                archived_objects: 10_000,
                ..Suspects::default()
            };
            are_all(&suspects, is_small)
        };
        assert!(are_small(10, 1_000, 0));
        assert!(are_small(0, 0, 10));
        assert!(!are_small(11, 1_000_000, 0));
        assert!(!are_small(3, 200, 0));
        assert!(!are_small(0, 1_000, 11));
    }

    #[test]
    fn counts_agree_within_a_hundredth() {
        assert!(agree(98, 100) && agree(102, 100) && agree(1_010, 1_000));
        assert!(!agree(97, 100) && !agree(60, 600));
    }
}
