//! Why runs are made, and which of them are made side by side.

use schemas::{Checkpoint, Run};

/// Why a run is made, and so what it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Reason {
    /// The first full pass over both lists.
    Backfill,
    /// Changes since the cursor, on the schedule.
    Incremental,
    /// The changes of the last hours again, for what the search index showed late.
    Late,
    /// The archived list.
    Archived,
    /// Both lists again: an object in neither is gone.
    Full,
    /// Changes since the cursor, for a one-time request.
    Requested,
    /// Objects that seem to be gone, by their ids.
    Confirm,
}

impl Reason {
    /// Its name in records, checkpoints and status.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Backfill => "backfill",
            Self::Incremental => "incremental",
            Self::Late => "late",
            Self::Archived => "archived",
            Self::Full => "full",
            Self::Requested => "requested",
            Self::Confirm => "confirm",
        }
    }

    /// The reason of that name.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        [
            Self::Backfill,
            Self::Incremental,
            Self::Late,
            Self::Archived,
            Self::Full,
            Self::Requested,
            Self::Confirm,
        ]
        .into_iter()
        .find(|reason| reason.as_str() == name)
    }

    /// Where the checkpoint has the run: one run of each slot is under way at a time.
    pub(crate) fn slot(self) -> Slot {
        match self {
            Self::Incremental | Self::Requested => Slot::Increments,
            Self::Backfill | Self::Archived | Self::Full => Slot::Pass,
            Self::Late | Self::Confirm => Slot::Check,
        }
    }

    /// Whether the run reads the live and the archived list.
    pub(crate) fn reads_both_lists(self) -> bool {
        matches!(self, Self::Backfill | Self::Full)
    }

    /// Whether the interval to the next run counts from this run's start.
    pub(crate) fn restarts_interval(self) -> bool {
        matches!(self, Self::Backfill | Self::Incremental | Self::Requested)
    }
}

/// What runs beside each other: a pass of hours holds up neither increments nor the
/// proof that objects are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Slot {
    /// Runs over changes.
    Increments,
    /// Passes over the lists.
    Pass,
    /// Late changes, and objects that seem to be gone.
    Check,
}

impl Slot {
    /// All slots.
    pub(crate) const ALL: [Self; 3] = [Self::Increments, Self::Pass, Self::Check];

    /// The slot's run in a checkpoint.
    pub(crate) fn of(self, checkpoint: &Checkpoint) -> Option<&Run> {
        match self {
            Self::Increments => checkpoint.increments.as_ref(),
            Self::Pass => checkpoint.pass.as_ref(),
            Self::Check => checkpoint.check.as_ref(),
        }
    }

    /// The slot's place among those of all slots, in their order.
    pub(crate) fn of_array<T>(self, all: &[T; 3]) -> &T {
        let [increments, pass, check] = all;
        match self {
            Self::Increments => increments,
            Self::Pass => pass,
            Self::Check => check,
        }
    }

    /// The same, to be changed.
    pub(crate) fn of_array_mut<T>(self, all: &mut [T; 3]) -> &mut T {
        let [increments, pass, check] = all;
        match self {
            Self::Increments => increments,
            Self::Pass => pass,
            Self::Check => check,
        }
    }

    /// The slot's place in a checkpoint.
    pub(crate) fn of_mut(self, checkpoint: &mut Checkpoint) -> &mut Option<Run> {
        match self {
            Self::Increments => &mut checkpoint.increments,
            Self::Pass => &mut checkpoint.pass,
            Self::Check => &mut checkpoint.check,
        }
    }
}

/// Puts a run of a former version, which had one slot, into its own.
pub(crate) fn into_slots(checkpoint: &mut Checkpoint) {
    let Some(run) = checkpoint.pass.take() else {
        return;
    };
    if let Some(reason) = Reason::parse(&run.reason) {
        *reason.slot().of_mut(checkpoint) = Some(run);
    }
}
