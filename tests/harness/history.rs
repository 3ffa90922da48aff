//! Every version that the objects of a portal had, and when: a run that has read
//! up to some time must have written those of that time to the log.

use std::collections::{BTreeMap, HashMap};

use hubspot_sim::{Change, ChangeError, Changed, Portal};
use schemas::{Checkpoint, codec, unframe};

use crate::{
    RecordLog,
    check::{Rule, Violation},
    log,
    servers::KafkaAndRegistry,
};

/// The worker's estimate of HubSpot's time is up to 1 s early, as `Date` has
/// seconds. A version must have lasted this much longer than the run, in ms.
const MARGIN: i64 = 2_000;
/// Tolerance between two clocks, in ms: the worker stamps checkpoints, Kafka
/// stamps records.
const STAMPS: i64 = 5_000;

/// A version of an object: its last-modified, and when it was replaced.
#[derive(Debug, Clone, Copy)]
struct Span {
    updated_at: i64,
    until: Option<i64>,
}

/// Every version of live objects.
#[derive(Debug, Default)]
pub struct History {
    spans: BTreeMap<(String, u64), Vec<Span>>,
    /// When HubSpot hid objects that it has: from, until.
    wrong: Vec<(i64, i64)>,
}

/// A run that has read every change before its cursor. Times are in ms since
/// 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FinishedRun {
    /// HubSpot's id of the account.
    pub portal_id: i64,
    /// Object type.
    pub stream: String,
    /// Every change before this time is in the log.
    pub cursor: i64,
    /// HubSpot's time when the run ended.
    pub ended_at: i64,
    /// When its last checkpoint was written.
    pub written_at: i64,
}

impl History {
    /// The history of these types of a portal, beginning with their state now.
    pub fn of(portal: &Portal, object_types: &[&str]) -> Self {
        let mut history = Self::default();
        for object_type in object_types {
            let truth = portal.truth(object_type).expect("a type of the portal");
            for object in truth.objects.iter().filter(|it| !it.archived) {
                history.version_began(object_type, object.id, object.updated_at_ms);
            }
        }
        history
    }

    /// Applies a change to the portal and records the versions that it makes.
    pub fn apply(&mut self, portal: &Portal, change: &Change) -> Result<Changed, ChangeError> {
        let changed = portal.apply(change)?;
        let at = changed.at;
        match change {
            Change::Create { object_type, .. }
            | Change::Update { object_type, .. }
            | Change::Bulk { object_type, .. } => {
                for id in &changed.ids {
                    self.version_ended(object_type, *id, at);
                    self.version_began(object_type, *id, at);
                }
            }
            Change::Archive { object_type, id } | Change::Erase { object_type, id } => {
                self.version_ended(object_type, *id, at);
            }
            Change::Merge {
                object_type,
                primary,
                secondary,
            } => {
                self.version_ended(object_type, *primary, at);
                self.version_ended(object_type, *secondary, at);
                for winner in &changed.ids {
                    self.version_began(object_type, *winner, at);
                }
            }
            // These do not change last-modified, so search does not show them.
            Change::Restore { .. }
            | Change::Calculate { .. }
            | Change::DefineProperty { .. }
            | Change::ArchiveProperty { .. }
            | Change::RelabelProperty { .. }
            | Change::AddType { .. }
            | Change::Associate { .. }
            | Change::Dissociate { .. } => {}
        }
        Ok(changed)
    }

    /// Records that an object has a new version.
    pub fn version_began(&mut self, object_type: &str, id: u64, updated_at: i64) {
        let spans = self.spans.entry((object_type.to_owned(), id)).or_default();
        spans.push(Span {
            updated_at,
            until: None,
        });
    }

    /// Records that its version was replaced, or that it is no longer live.
    pub fn version_ended(&mut self, object_type: &str, id: u64, at: i64) {
        if let Some(last) = self
            .spans
            .get_mut(&(object_type.to_owned(), id))
            .and_then(|spans| spans.last_mut())
        {
            last.until.get_or_insert(at);
        }
    }

    /// Records that HubSpot hid objects from lists, searches or reads in that time: a
    /// run that read then could not see all.
    pub fn answers_were_wrong(&mut self, from: i64, until: i64) {
        self.wrong.push((from, until));
    }

    /// How many versions there were.
    pub fn versions(&self) -> usize {
        self.spans.values().map(Vec::len).sum()
    }

    /// Versions of a portal that a run must have read, and that were not in the log
    /// at the end of that run.
    pub fn lost(&self, portal_id: i64, log: &RecordLog, runs: &[FinishedRun]) -> Vec<Violation> {
        let mut first: HashMap<(&str, i64, i64), i64> = HashMap::new();
        for record in log.records.iter().filter(|it| it.portal_id == portal_id) {
            let version = (&*record.object_type, record.object_id, record.updated_at);
            first
                .entry(version)
                .and_modify(|at| *at = record.written_at.min(*at))
                .or_insert(record.written_at);
        }
        let mut violations = Vec::new();
        for (object_type, id, span, run) in self.due(portal_id, runs) {
            let version = (object_type, id.cast_signed(), span.updated_at);
            let found = first.get(&version);
            if found.is_none_or(|at| *at > run.written_at + STAMPS) {
                violations.push(Violation {
                    rule: Rule::Version,
                    object: format!("{object_type}/{id}"),
                    detail: format!(
                        "last-modified {}, until {:?}; a run had read up to {} and ended at {}; \
                         written to the log at {found:?}",
                        span.updated_at, span.until, run.cursor, run.ended_at
                    ),
                });
            }
        }
        violations
    }

    /// How many versions [`History::lost`] checks.
    pub fn checked(&self, portal_id: i64, runs: &[FinishedRun]) -> usize {
        self.due(portal_id, runs).count()
    }

    /// Versions that must be in the log, with the first run that must have read
    /// them.
    fn due<'a>(
        &'a self,
        portal_id: i64,
        runs: &'a [FinishedRun],
    ) -> impl Iterator<Item = (&'a str, u64, Span, &'a FinishedRun)> {
        self.spans
            .iter()
            .flat_map(move |((object_type, id), spans)| {
                spans.iter().filter_map(move |span| {
                    let run = runs.iter().find(|run| {
                        run.portal_id == portal_id
                            && run.stream == *object_type
                            && span.updated_at < run.cursor
                            && span.until.is_none_or(|until| until > run.ended_at + MARGIN)
                    })?;
                    let was_hidden = self.wrong.iter().any(|(from, until)| {
                        *from <= run.ended_at + MARGIN && *until + MARGIN >= span.updated_at
                    });
                    (!was_hidden).then_some((object_type.as_str(), *id, *span, run))
                })
            })
    }
}

/// Runs that moved a cursor, in order, from the checkpoints that compaction has
/// left in the log.
pub async fn finished_runs(servers: &KafkaAndRegistry, topic: &str) -> Vec<FinishedRun> {
    let mut runs: Vec<FinishedRun> = Vec::new();
    let mut cursors: HashMap<String, i64> = HashMap::new();
    for (message, checkpoint) in checkpoints(servers, topic).await {
        let (Some(cursor), Some(ended_at)) = (checkpoint.cursor, checkpoint.last_success_at) else {
            continue;
        };
        if cursors.insert(message.key, cursor) != Some(cursor) {
            runs.push(FinishedRun {
                portal_id: checkpoint.portal_id,
                stream: checkpoint.stream,
                cursor,
                ended_at,
                written_at: message.written_at,
            });
        }
    }
    runs
}

async fn checkpoints(servers: &KafkaAndRegistry, topic: &str) -> Vec<(log::Message, Checkpoint)> {
    let mut checkpoints = Vec::new();
    for message in log::read_topic(servers, topic).await {
        let Some(value) = &message.value else {
            continue;
        };
        let framed = unframe(value).unwrap();
        // Written by a worker of the same build.
        let checkpoint = codec::decode(schemas::checkpoint::SCHEMA, framed.datum).unwrap();
        checkpoints.push((message, checkpoint));
    }
    checkpoints
}
