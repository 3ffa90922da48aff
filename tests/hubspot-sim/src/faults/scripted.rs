//! The answers of faults that replace that of the endpoint.

use super::{Asked, Fault};
use crate::{Shared, answer::Answer, timestamps};

/// The answer of a fault that replaces the endpoint's.
pub(crate) fn answer(shared: &Shared, fault: &Fault, asked: Asked<'_>) -> Option<Answer> {
    let now_ms = shared.clock.now_ms();
    Some(match fault {
        Fault::Status {
            code,
            body,
            retry_after,
        } => Answer {
            retry_after: *retry_after,
            ..body.answer(*code)
        },
        Fault::RateLimited {
            policy,
            retry_after,
        } => Answer::rate_limited(*policy, *retry_after),
        Fault::ExpireToken => {
            shared.tokens.expire(asked.token, now_ms);
            Answer::expired_token(&timestamps::iso(now_ms))
        }
        Fault::UnknownToken => Answer::unknown_token(),
        Fault::MissingScope => Answer::missing_scope(&["crm.objects.contacts.read".to_owned()]),
        Fault::Refused {
            form,
            category,
            correlation_id,
        } => {
            let answer = form.answer(asked, category.as_deref());
            if *correlation_id {
                answer
            } else {
                answer.without_correlation_id()
            }
        }
        Fault::NotJson => Answer::text(
            200,
            "text/html",
            "<html><body>Just a moment...</body></html>",
        ),
        Fault::Reset
        | Fault::Stall
        | Fault::Delay { .. }
        | Fault::CutBody { .. }
        | Fault::SlowBody { .. }
        | Fault::ListEnds { .. }
        | Fault::NoPaging { .. }
        | Fault::RepeatPage { .. }
        | Fault::PartialView { .. }
        | Fault::MissedIds { .. }
        | Fault::RandomMisses { .. }
        | Fault::PageTimeout { .. }
        | Fault::FailingObjects { .. } => return None,
    })
}
