//! The faults: what the simulator does wrong on purpose.

use serde::{Deserialize, Serialize};

use super::Refusal;
use crate::{answer::Answer, limits::Policy, route::Kind};

/// One fault.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// An answer with this status.
    Status {
        /// The status code.
        code: u16,
        /// The form of its body.
        #[serde(default)]
        body: FaultBody,
        /// `Retry-After` in seconds.
        #[serde(default)]
        retry_after: Option<u64>,
    },
    /// A 429 with this policy.
    RateLimited {
        /// The limit that the answer names.
        policy: Policy,
        /// `Retry-After` in seconds.
        #[serde(default)]
        retry_after: Option<u64>,
    },
    /// The connection is reset before the answer.
    Reset,
    /// The answer breaks off after that many bytes of its body.
    CutBody {
        /// Bytes that are sent.
        after: usize,
    },
    /// The body is sent in pieces.
    SlowBody {
        /// Number of pieces.
        pieces: usize,
        /// Pause between two pieces, in ms.
        pause_ms: u64,
    },
    /// The answer is delayed.
    Delay {
        /// By how many ms.
        ms: u64,
    },
    /// The answer is never sent.
    Stall,
    /// 401: the token has expired. An OAuth token stays expired.
    ExpireToken,
    /// 401: the token is not known.
    UnknownToken,
    /// 403: a scope is missing.
    MissingScope,
    /// HubSpot refuses what the type or the token does not have.
    Refused {
        /// What it refuses.
        form: Refusal,
        /// A category other than the usual one; most forms have none.
        #[serde(default)]
        category: Option<String>,
        /// Whether header and body have a correlation id; true by default.
        #[serde(default = "yes")]
        correlation_id: bool,
    },
    /// 200 with something that is not JSON.
    NotJson,
    /// The list ends early: what follows its first rows is not there, in any page.
    /// A page that ends before is answered normally and not counted.
    ListEnds {
        /// Rows of the list that remain; 0 is an empty list.
        #[serde(default)]
        after_rows: usize,
    },
    /// A page of the list has no `paging` although more rows follow.
    NoPaging {
        /// Only the page that shows this id.
        #[serde(default)]
        holding: Option<u64>,
    },
    /// The list answers with the page before, whose `after` names the page that was
    /// requested; on the first page, with itself.
    RepeatPage {
        /// Only where the repeated page shows this id.
        #[serde(default)]
        holding: Option<u64>,
    },
    /// Lists, searches and reads show a share of the objects only, as for a token that
    /// lost permissions.
    PartialView {
        /// The share that is shown, in percent, chosen by a hash of the id.
        percent: f64,
        /// Another seed chooses other ids.
        #[serde(default)]
        seed: u64,
    },
    /// A batch read answers these ids as not found although the objects exist. `times`
    /// counts for each id on its own.
    MissedIds {
        /// The ids.
        ids: Vec<u64>,
    },
    /// A batch read answers an id as not found by chance. `times` counts ids.
    RandomMisses {
        /// The chance for each id, in percent.
        percent: f64,
        /// Another seed makes other ids fail.
        #[serde(default)]
        seed: u64,
    },
    /// 524 for a page or a batch read, also of associations, of more than that many objects.
    PageTimeout {
        /// The number of objects that is still answered.
        above: usize,
    },
    /// Each page, batch read (also of associations) or read that has one of these objects
    /// fails, with one object as well.
    FailingObjects {
        /// The ids.
        ids: Vec<u64>,
        /// The status code; 500 by default.
        #[serde(default = "internal_error")]
        code: u16,
        /// The form of its body.
        #[serde(default)]
        body: FaultBody,
    },
}

impl Fault {
    /// Whether a request of that kind can have the fault.
    pub(super) fn suits(&self, kind: Kind) -> bool {
        let list = matches!(kind, Kind::List | Kind::ListArchived);
        let objects = list || matches!(kind, Kind::Search | Kind::BatchRead | Kind::Read);
        let by_id = objects || kind == Kind::Associations;
        match self {
            Self::ListEnds { .. } | Self::NoPaging { .. } | Self::RepeatPage { .. } => list,
            Self::Refused { form, .. } => form.suits(kind),
            Self::PartialView { .. } => objects,
            Self::PageTimeout { .. } | Self::FailingObjects { .. } => by_id,
            Self::MissedIds { .. } | Self::RandomMisses { .. } => kind == Kind::BatchRead,
            _ => true,
        }
    }

    /// Whether the endpoint itself answers wrongly, so that it decides which requests
    /// have the fault. All such faults apply at the same time as any other.
    pub(super) fn is_of_endpoint(&self) -> bool {
        matches!(
            self,
            Self::ListEnds { .. }
                | Self::NoPaging { .. }
                | Self::RepeatPage { .. }
                | Self::PartialView { .. }
                | Self::MissedIds { .. }
                | Self::RandomMisses { .. }
                | Self::PageTimeout { .. }
                | Self::FailingObjects { .. }
        )
    }
}

fn internal_error() -> u16 {
    500
}

fn yes() -> bool {
    true
}

/// The body of an error.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultBody {
    /// HubSpot's error body.
    #[default]
    Json,
    /// The HTML page of a proxy.
    Html,
    /// No body.
    Empty,
}

impl FaultBody {
    /// An error with this body.
    pub(crate) fn answer(self, code: u16) -> Answer {
        match self {
            Self::Json => Answer::error(code, "INTERNAL_ERROR", "internal error"),
            Self::Html => {
                let page = format!(
                    "<html><head><title>{code}</title></head><body>\
                                    <center><h1>{code}</h1></center></body></html>"
                );
                Answer::text(code, "text/html", &page)
            }
            Self::Empty => Answer::text(code, "text/plain", ""),
        }
    }
}
