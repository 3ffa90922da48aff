//! What runs in this process: the partitions that it owns, their connections,
//! and their streams.
//!
//! In reading order: [`take_over`] makes partitions ours, [`receive`] decodes
//! commands, [`connection`] applies them, [`stream`] makes the runs, [`claim`]
//! keeps a portal to one connection, [`shared_reads`] reads the log for many,
//! [`command_traces`] joins a run to the trace that asked for it, [`halt`] says why a
//! stream or a connection ends. It must not know HubSpot's HTTP, nor how membership
//! is kept.

mod claim;
mod command_traces;
mod connection;
mod dependencies;
mod halt;
mod receive;
mod shared_reads;
mod stream;
mod take_over;

#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};

use crate::{
    commit::Committer,
    desired::{DesiredConnection, DesiredPartition},
    ownership::{Assignment, Event, Events, PartitionLease, Restored},
};
pub(crate) use dependencies::{ControlLog, Dependencies, Sources};
pub(crate) use shared_reads::SharedReads;
use take_over::{FencedPartition, TakenOver};

/// Gauge: partitions that this process has taken over, and carries out the commands of.
const PARTITIONS: &str = "worker_partitions";

/// How long a release waits for transactions that are being committed: less than
/// the 3 s that a rebalance waits for the release.
const RELEASE_LIMIT: Duration = Duration::from_millis(2_500);

/// Describes this module's metrics to the recorder.
pub(crate) fn describe_metrics() {
    metrics::describe_gauge!(PARTITIONS, "Partitions owned and taken over.");
}

/// A partition that is ours.
struct Partition {
    lease: PartitionLease,
    desired: DesiredPartition,
    running: Option<RunningPartition>,
}

/// What runs once a partition is fenced and read.
struct RunningPartition {
    committer: Committer,
    restored: Arc<Restored>,
    connections: HashMap<String, RunningConnection>,
}

struct RunningConnection {
    desired: watch::Sender<DesiredConnection>,
    task: JoinHandle<()>,
}

/// What a background task of the supervisor found.
struct Report {
    /// The assignment for which the task was started.
    epoch: u64,
    finding: Finding,
}

enum Finding {
    /// Partitions are fenced and read.
    TakenOver(Box<TakenOver>),
    /// They could not be.
    TakeOverFailed {
        assignments: Vec<Assignment>,
        error: anyhow::Error,
    },
    /// The thread that commits for a partition has ended.
    CommitterEnded { partition: i32 },
}

/// Carries out the commands of the partitions that this process owns.
pub(crate) struct Supervisor<S: Sources> {
    dependencies: Arc<Dependencies<S>>,
    partitions: HashMap<i32, Partition>,
    /// Counts assignments and releases: reports of an earlier epoch are ignored.
    epoch: u64,
    reports: mpsc::UnboundedSender<Report>,
    inbox: mpsc::UnboundedReceiver<Report>,
}

impl<S: Sources> Supervisor<S> {
    /// A supervisor that owns nothing yet.
    pub(crate) fn new(dependencies: Arc<Dependencies<S>>) -> Self {
        let (reports, inbox) = mpsc::unbounded_channel();
        Self {
            dependencies,
            partitions: HashMap::new(),
            epoch: 0,
            reports,
            inbox,
        }
    }

    /// Handles events until the process is to end, then releases all partitions.
    ///
    /// Fails when membership of the group cannot be kept.
    pub(crate) async fn run(&mut self, events: &mut Events) -> anyhow::Result<()> {
        let draining = self.dependencies.context.draining().clone();
        let health = self.dependencies.context.health();
        health.fails("ownership", "no partition is assigned yet");
        health.holds(chassis::health::START);
        let outcome = loop {
            tokio::select! {
                biased;
                () = draining.cancelled() => break Ok(()),
                event = events.recv() => match event {
                    Some(event) => if let Err(error) = self.on_event(event).await {
                        break Err(error);
                    },
                    None => break Err(anyhow::anyhow!("membership ended")),
                },
                Some(report) = self.inbox.recv() => if let Err(error) = self.on_report(report) {
                    break Err(error);
                },
            }
        };
        self.release_all().await;
        outcome
    }

    async fn on_event(&mut self, event: Event) -> anyhow::Result<()> {
        match event {
            Event::Assigned(assignments) => self.assigned(assignments),
            Event::Revoked(done) => {
                self.release_all().await;
                // The member may have stopped waiting.
                let _gone = done.send(());
            }
            Event::Command(message) => self.command(message).await,
            Event::End(number) => {
                if let Some(partition) = self.partitions.get_mut(&number) {
                    partition.desired.complete();
                    self.reconcile(number);
                }
            }
            Event::Failed(reason) => anyhow::bail!("membership of the group failed: {reason}"),
        }
        Ok(())
    }

    fn assigned(&mut self, assignments: Vec<Assignment>) {
        self.epoch += 1;
        for assignment in &assignments {
            let partition = Partition {
                lease: assignment.lease.clone(),
                desired: DesiredPartition::default(),
                running: None,
            };
            self.partitions.insert(assignment.partition, partition);
        }
        self.count_partitions();
        if assignments.is_empty() {
            // Other workers own all of them.
            self.dependencies.context.health().holds("ownership");
        } else {
            self.take_over(assignments, None);
        }
    }

    /// Fences and reads partitions in the background.
    fn take_over(&self, assignments: Vec<Assignment>, failed_at: Option<Instant>) {
        let (dependencies, reports, epoch) = (
            Arc::clone(&self.dependencies),
            self.reports.clone(),
            self.epoch,
        );
        self.dependencies.context.spawn_owned(async move {
            let taking = take_over::take_over(&dependencies, &assignments, failed_at);
            // The end of the process does not wait for a Kafka that is away.
            let Some(outcome) = dependencies.context.unless_draining(taking).await else {
                return;
            };
            let finding = match outcome {
                Ok(taken) => Finding::TakenOver(Box::new(taken)),
                Err(error) => Finding::TakeOverFailed { assignments, error },
            };
            // The receiver is gone once the process ends.
            drop(reports.send(Report { epoch, finding }));
        });
    }

    fn on_report(&mut self, Report { epoch, finding }: Report) -> anyhow::Result<()> {
        let is_current = epoch == self.epoch;
        match finding {
            Finding::TakenOver(taken) if is_current => self.taken_over(*taken)?,
            // Closing producers blocks.
            Finding::TakenOver(taken) => drop(tokio::task::spawn_blocking(move || drop(taken))),
            Finding::TakeOverFailed { assignments, error } if is_current => {
                let error = format!("{error:#}");
                tracing::warn!(error, "partitions cannot be taken over now; will retry");
                self.dependencies.context.health().fails("ownership", error);
                self.take_over(assignments, Some(Instant::now()));
            }
            Finding::CommitterEnded { partition } if is_current => self.committer_ended(partition),
            Finding::TakeOverFailed { .. } | Finding::CommitterEnded { .. } => {}
        }
        Ok(())
    }

    fn taken_over(&mut self, taken: TakenOver) -> anyhow::Result<()> {
        // Shared by all partitions and connections.
        let restored = Arc::new(taken.restored);
        let mut started = Vec::new();
        for FencedPartition { number, log } in taken.partitions {
            let Some(partition) = self.partitions.get_mut(&number) else {
                continue;
            };
            let committer = Committer::start(number, log, Arc::clone(&self.dependencies.commits))?;
            let (watched, reports, epoch) = (committer.clone(), self.reports.clone(), self.epoch);
            self.dependencies.context.spawn_owned(async move {
                watched.ended().await;
                let finding = Finding::CommitterEnded { partition: number };
                // The receiver is gone once the process ends.
                drop(reports.send(Report { epoch, finding }));
            });
            let restored = Arc::clone(&restored);
            partition.running = Some(RunningPartition {
                committer,
                restored,
                connections: HashMap::new(),
            });
            started.push(number);
        }
        self.count_partitions();
        for number in started {
            self.reconcile(number);
        }
        if self.partitions.values().all(|it| it.running.is_some()) {
            tracing::info!(partitions = self.partitions.len(), "partitions taken over");
            self.dependencies.context.health().holds("ownership");
        }
        Ok(())
    }

    /// A partition's producer was fenced or failed for good. Once membership is
    /// confirmed again, the partition is fenced and read again.
    fn committer_ended(&mut self, number: i32) {
        let Some(partition) = self.partitions.get_mut(&number) else {
            return;
        };
        let Some(running) = partition.running.take() else {
            return;
        };
        for connection in running.connections.into_values() {
            connection.task.abort();
        }
        let assignment = Assignment {
            partition: number,
            lease: partition.lease.clone(),
        };
        self.count_partitions();
        self.dependencies
            .context
            .health()
            .fails("ownership", "a partition is taken over again");
        self.take_over(vec![assignment], Some(Instant::now()));
    }

    /// Hands each connection of a partition its desired state, and starts the
    /// connections that are new.
    fn reconcile(&mut self, number: i32) {
        let Some(partition) = self.partitions.get_mut(&number) else {
            return;
        };
        let Some(running) = &mut partition.running else {
            return;
        };
        if !partition.desired.is_complete() {
            return;
        }
        for (name, desired) in partition.desired.iter() {
            if let Some(connection) = running.connections.get(name) {
                connection.desired.send_if_modified(|known| {
                    let changed = known != desired;
                    known.clone_from(desired);
                    changed
                });
                continue;
            }
            let (sender, receiver) = watch::channel(desired.clone());
            let task = connection::ConnectionTask::new(
                Arc::clone(&self.dependencies),
                name.to_owned(),
                running.committer.clone(),
                partition.lease.clone(),
                Arc::clone(&running.restored),
            );
            let task = self.dependencies.context.spawn_owned(task.run(receiver));
            running.connections.insert(
                name.to_owned(),
                RunningConnection {
                    desired: sender,
                    task,
                },
            );
        }
    }

    /// Only those that run: a partition that cannot be taken over has no owner for its
    /// connections.
    fn count_partitions(&self) {
        let running = self.partitions.values().filter(|it| it.running.is_some());
        #[expect(clippy::cast_precision_loss, reason = "there are at most 1,024")]
        metrics::gauge!(PARTITIONS).set(running.count() as f64);
    }

    /// Stops all streams, aborts what is not being committed, and closes the
    /// producers, within [`RELEASE_LIMIT`].
    async fn release_all(&mut self) {
        self.epoch += 1;
        let mut tasks = Vec::new();
        let mut committers = Vec::new();
        for (_, partition) in self.partitions.drain() {
            partition.lease.revoke();
            let Some(running) = partition.running else {
                continue;
            };
            running.committer.close();
            committers.push(running.committer);
            for connection in running.connections.into_values() {
                connection.task.abort();
                tasks.push(connection.task);
            }
        }
        self.count_partitions();
        self.dependencies
            .context
            .health()
            .fails("ownership", "partitions are being released");
        let ended = async {
            for task in tasks {
                // Its outcome is that it was aborted.
                drop(task.await);
            }
            for committer in committers {
                committer.ended().await;
            }
        };
        if tokio::time::timeout(RELEASE_LIMIT, ended).await.is_err() {
            tracing::warn!("partitions are released before everything has stopped");
        }
    }
}

impl<S: Sources> std::fmt::Debug for Supervisor<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Supervisor")
            .field("epoch", &self.epoch)
            .finish_non_exhaustive()
    }
}
