//! Reads that the portal fails on.

use std::collections::BTreeSet;

use schemas::Millis;

use super::super::super::{Advice, ReadError, SourceError};

/// What fails.
#[derive(Debug, Clone, Default)]
pub(in super::super) struct Faults {
    /// Each page and read that has one of these objects.
    pub(in super::super) objects: BTreeSet<i64>,
    /// Pages of ids do not fail for them.
    pub(in super::super) lists_ids: bool,
    /// Pages and reads of more objects.
    pub(in super::super) above: Option<usize>,
    /// All of them.
    pub(in super::super) outage: bool,
}

impl Faults {
    pub(super) fn check(
        &self,
        mut ids: impl ExactSizeIterator<Item = i64>,
        ids_only: bool,
        now: Millis,
    ) -> Result<(), ReadError> {
        let is_too_large = self.above.is_some_and(|above| ids.len() > above);
        let lists_ids = ids_only && self.lists_ids;
        let has_object = !lists_ids && ids.any(|id| self.objects.contains(&id));
        if !is_too_large && !has_object && !self.outage {
            return Ok(());
        }
        Err(ReadError {
            error: SourceError {
                advice: Advice::WaitUntil(now + 60_000),
                code: "hubspot_unavailable",
                problem: "scripted".to_owned(),
                remedy: String::new(),
            },
            may_shrink: true,
        })
    }
}
