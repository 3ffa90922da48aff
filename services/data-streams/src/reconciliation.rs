//! Compares each verdict of the worker with the warehouse, once, and repairs the
//! warehouse where the two differ. Every instance knows the outcomes; the one that
//! reads the first partition of the records makes them.

mod parts;
mod settle;

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error as _,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use chassis::Context;
use schemas::{DesiredState, RequestKind, Verdict};

pub(crate) use self::parts::Parts;
use self::settle::{Failure, Ports, settle};
use crate::{
    comparison::Comparison,
    control::{Connections, LiveConnection},
};

/// Messages of the control topics that come together are looked at together.
const COLLECT: Duration = Duration::from_millis(500);

/// Time between two looks for the outcome of another instance.
const FOLLOW: Duration = Duration::from_secs(2);

/// The first pause after a failure; it doubles up to the last.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_mins(5);

/// Connection and object type.
pub(crate) type StreamName = (String, String);

/// The last comparison of each stream that has a verdict. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Comparisons {
    last: Arc<Mutex<BTreeMap<StreamName, Comparison>>>,
}

impl Comparisons {
    /// The last comparison of a stream.
    pub(crate) fn last(&self, connection: &str, stream: &str) -> Option<Comparison> {
        let key = (connection.to_owned(), stream.to_owned());
        self.with(|last| last.get(&key).cloned())
    }

    /// Adds comparisons, each in place of an earlier one of its stream.
    fn add(&self, comparisons: impl IntoIterator<Item = Comparison>) {
        let keyed = comparisons
            .into_iter()
            .map(|it| ((it.connection.clone(), it.stream.clone()), it));
        self.with(|last| last.extend(keyed));
    }

    /// Whether the verdict of this pass is compared.
    fn has(&self, subject: &Subject) -> bool {
        self.with(|last| {
            let known = last.get(&subject.name());
            known.is_some_and(|it| it.run_id == subject.verdict.run_id)
        })
    }

    /// Forgets the streams that have no verdict: their connections were deleted.
    fn retain(&self, subjects: &[Subject]) {
        let named: BTreeSet<_> = subjects.iter().map(Subject::name).collect();
        self.with(|last| last.retain(|name, _| named.contains(name)));
    }

    fn with<T>(&self, with: impl FnOnce(&mut BTreeMap<StreamName, Comparison>) -> T) -> T {
        with(&mut self.last.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A verdict to be compared with the warehouse.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    connection: String,
    /// The database that users query.
    destination: String,
    verdict: Arc<Verdict>,
    /// What was asked for, where the pass carried out a request that is still known.
    asked: Option<RequestKind>,
    /// Whether the connection runs.
    is_running: bool,
}

impl Subject {
    fn name(&self) -> StreamName {
        (self.connection.clone(), self.verdict.stream.clone())
    }
}

/// The last verdict of each stream.
fn subjects(connections: &Connections) -> Vec<Subject> {
    let of_connection = |live: LiveConnection<'_>| {
        let subject = |verdict: &Arc<Verdict>| {
            let request = verdict.request_id.as_deref();
            Subject {
                connection: live.name.to_owned(),
                destination: live.desired.destination.clone(),
                verdict: Arc::clone(verdict),
                asked: request.and_then(|id| live.connection.kind_of(id)),
                is_running: live.desired.state == DesiredState::Running,
            }
        };
        let verdicts = live.connection.verdicts.values();
        verdicts.map(subject).collect::<Vec<_>>()
    };
    connections.live().flat_map(of_connection).collect()
}

/// Compares verdicts until the process stops.
pub(crate) async fn run(
    context: Context,
    parts: Parts,
    comparisons: Comparisons,
) -> anyhow::Result<()> {
    let mut changes = parts.control.changes();
    let mut retry = FIRST_RETRY;
    loop {
        let read = parts.control.read(subjects).unwrap_or_default();
        comparisons.retain(&read);
        let outcome = step(&parts, &comparisons, read);
        let Some(outcome) = context.unless_draining(outcome).await else {
            return Ok(());
        };
        let wait = async {
            match outcome {
                Ok(Step::AllCompared) => {
                    retry = FIRST_RETRY;
                    // Fails only when the sender is gone, and `parts` has it.
                    drop(changes.changed().await);
                    tokio::time::sleep(COLLECT).await;
                }
                Ok(Step::Waiting) => {
                    retry = FIRST_RETRY;
                    tokio::time::sleep(FOLLOW).await;
                }
                Err(error) => {
                    let cause = error.source().map(ToString::to_string);
                    tracing::warn!(%error, cause, "a verdict cannot be compared now; will retry");
                    tokio::time::sleep(retry).await;
                    retry = (retry * 2).min(LAST_RETRY);
                }
            }
        };
        if context.unless_draining(wait).await.is_none() {
            return Ok(());
        }
    }
}

/// What a step leaves.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// Every verdict is compared.
    AllCompared,
    /// Another instance has yet to compare some.
    Waiting,
}

/// Reads the outcomes that others have kept, and compares the rest if this instance
/// leads. A failure of one stream does not hold up the others.
async fn step(
    ports: &dyn Ports,
    comparisons: &Comparisons,
    mut subjects: Vec<Subject>,
) -> Result<Step, Failure> {
    subjects.retain(|subject| !comparisons.has(subject));
    if subjects.is_empty() {
        return Ok(Step::AllCompared);
    }
    let names: Vec<_> = subjects.iter().map(Subject::name).collect();
    comparisons.add(ports.kept(&names).await?);
    subjects.retain(|subject| !comparisons.has(subject));
    if subjects.is_empty() {
        return Ok(Step::AllCompared);
    }
    let mut failure = None;
    for subject in subjects {
        if !ports.leads() {
            return Ok(Step::Waiting);
        }
        let previous = comparisons.last(&subject.connection, &subject.verdict.stream);
        if let Err(error) = settle(ports, &subject, previous.as_ref()).await {
            failure = Some(error);
            continue;
        }
        // Another instance may have led meanwhile and have been first.
        comparisons.add(ports.kept(&[subject.name()]).await?);
    }
    failure.map_or(Ok(Step::AllCompared), Err)
}

#[cfg(test)]
mod tests;
