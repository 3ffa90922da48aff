//! How dense the ids of a table are, learned from the pages that are read.
//!
//! It must not know how a page is read.

use std::sync::atomic::{AtomicU64, Ordering};

use super::query::Head;
use crate::records::RecordQuery;

/// Of so many objects in a range of ids, at least one has to be wanted for the
/// whole range to be read.
const FEW: u64 = 4;

/// How far apart the ids of a table's neighbours were on the page read last;
/// zero before the first.
#[derive(Debug, Default)]
pub(crate) struct Spacing(AtomicU64);

impl Spacing {
    pub(crate) fn learn(&self, heads: &[Head]) {
        let neighbours = u64::try_from(heads.len()).unwrap_or_default();
        if let (Some(first), Some(last)) = (heads.first(), heads.last())
            && neighbours > 10
        {
            let apart = last.0.saturating_sub(first.0) / (neighbours - 1);
            self.0.store(apart.max(1), Ordering::Relaxed);
        }
    }

    /// Whether these, of those that match, are few of the objects in their range
    /// of ids, so that reading all of it would be a waste.
    pub(crate) fn are_few(&self, heads: &[Head], filter: &RecordQuery) -> bool {
        let (Some(first), Some(last)) = (heads.first(), heads.last()) else {
            return false;
        };
        let range = last.0.saturating_sub(first.0);
        let heads = u64::try_from(heads.len()).unwrap_or(u64::MAX);
        let apart = self.0.load(Ordering::Relaxed).max(1);
        !filter.matches_nearly_all() && range / apart > heads.saturating_mul(FEW)
    }
}
