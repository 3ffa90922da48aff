//! One stream: makes a run when one is due, writes the stream's status, and waits
//! for the next run or the next command.

use std::{convert::Infallible, sync::Arc, time::Duration};

use schemas::{Command, EncodeError, Millis, Problem, StreamStatus};
use tokio::sync::{mpsc, watch};

use super::halt::Halt;
use crate::{
    commit::StreamSink,
    schedule::{self, Due, Reason, RunPlan, Settings, StreamDemand},
    status,
    sync::{
        self, Advice, Outcome, Progress, RunContext, RunEnd, SinkClosed, Source, SourceError,
        StreamContext,
    },
};

/// Longest wait for the next run, after which the schedule is checked again:
/// HubSpot's clock may have been corrected.
const LONGEST_WAIT: Duration = Duration::from_mins(10);

/// What a stream reports to its connection.
#[derive(Debug)]
pub(super) enum StreamEvent {
    /// The connection has to stop, for this reason.
    StopConnection(Problem),
    /// The stream of that name has nothing to do until the next command.
    Idle(String),
}

/// The task of one stream.
pub(super) struct StreamTask<S> {
    pub(super) source: Arc<S>,
    pub(super) sink: StreamSink,
    pub(super) portal_id: i64,
    pub(super) settings: Settings,
    pub(super) clock: chassis::Clock,
    pub(super) events: mpsc::UnboundedSender<StreamEvent>,
}

impl<S: Source> StreamTask<S> {
    /// Runs until the partition is no longer ours or the task is aborted.
    pub(super) async fn run(self, mut commands: watch::Receiver<Arc<Command>>) {
        loop {
            let Err(halt) = self.run_loop(&mut commands).await;
            let Halt::Unwritable(error) = halt else {
                return;
            };
            if self.fail_unwritable(&error, &mut commands).await.is_err() {
                return;
            }
        }
    }

    /// Shows that the stream has failed, and waits for the next command. If that
    /// cannot be written either, the connection fails.
    async fn fail_unwritable(
        &self,
        error: &EncodeError,
        commands: &mut watch::Receiver<Arc<Command>>,
    ) -> Result<(), SinkClosed> {
        let (connection, stream) = (self.sink.state().connection(), self.sink.state().stream());
        tracing::error!(connection, stream, %error, "a value cannot be written");
        let problem = status::unwritable(error, self.clock.now_ms());
        let shown = self.show(|view| {
            set_phase(view, "failed");
            view.outcome = Some("failed".to_owned());
            view.error = Some(problem.clone());
        });
        match shown {
            Ok(()) => self.wait_for_command(commands).await,
            Err(Halt::Closed) => Err(SinkClosed),
            Err(Halt::Unwritable(_)) => self.stop_connection(problem).await,
        }
    }

    async fn run_loop(
        &self,
        commands: &mut watch::Receiver<Arc<Command>>,
    ) -> Result<Infallible, Halt> {
        loop {
            let command = Arc::clone(&commands.borrow_and_update());
            let now = self.source.now();
            match self.due(&command, now) {
                Due::Now(plan) => self.run_once(plan, commands).await?,
                Due::At(at) => {
                    self.show(|view| {
                        set_phase(view, "idle");
                        view.next_run_at = Some(at);
                    })?;
                    self.wait_until(at, commands).await?;
                }
                Due::Never => {
                    self.show(|view| set_phase(view, "stopped"))?;
                    self.wait_for_command(commands).await?;
                }
            }
        }
    }

    fn due(&self, command: &Command, now: Millis) -> Due {
        let stream = self.sink.state().stream();
        let demand = StreamDemand {
            running: command.state == schemas::DesiredState::Running,
            interval: command.interval_ms,
            request: command.requests.iter().find(|it| it.stream == stream),
            rechecks_from: self.source.rechecks_from(),
        };
        schedule::due(
            &self.sink.state().checkpoint(),
            &demand,
            &self.settings,
            now,
        )
    }

    /// Makes one run, and writes its progress.
    async fn run_once(
        &self,
        plan: RunPlan,
        commands: &mut watch::Receiver<Arc<Command>>,
    ) -> Result<(), Halt> {
        let state = self.sink.state();
        // Of the run before, which the command has ended.
        drop(state.take_failure());
        let context = StreamContext {
            connection: state.connection().to_owned(),
            portal_id: self.portal_id,
            object_type: state.stream().to_owned(),
            definitions: state.definitions(),
            settings: self.settings,
        };
        let phase = if plan.reason == Reason::Backfill {
            "backfill"
        } else {
            "incremental"
        };
        let reason = plan.reason.as_str();
        let (progress, mut shown) = watch::channel(Progress::default());
        let checkpoint = state.checkpoint();
        let end = {
            let context = RunContext {
                source: &*self.source,
                sink: &self.sink,
                stream: &context,
                progress: &progress,
            };
            let run = sync::run(&context, checkpoint, plan);
            let mut run = Box::pin(run);
            loop {
                tokio::select! {
                    biased;
                    end = &mut run => break end,
                    Ok(()) = shown.changed() => {
                        let progress = shown.borrow_and_update().clone();
                        self.show(|view| begin(view, phase, reason, &progress))?;
                    }
                }
            }
        };
        match state.take_failure() {
            Some(error) => Err(Halt::Unwritable(error)),
            None => self.ended(end, commands).await,
        }
    }

    /// Writes how a run ended, and acts on its failure.
    async fn ended(
        &self,
        end: RunEnd,
        commands: &mut watch::Receiver<Arc<Command>>,
    ) -> Result<(), Halt> {
        let state = self.sink.state();
        // After a restart the checkpoint already names the next run.
        let last = state.last_run().filter(|it| it.run_id == end.run_id);
        let outcome = outcome(&end.outcome);
        let checkpoint = state.checkpoint();
        tracing::info!(
            connection = state.connection(),
            stream = state.stream(),
            reason = end.reason.as_str(),
            run_id = end.run_id,
            request_id = end.request_id,
            records = last.as_ref().map(|it| it.records),
            outcome,
            "a run ended"
        );
        let record = |view: &mut StreamStatus| {
            view.reason = Some(end.reason.as_str().to_owned());
            view.request_id.clone_from(&end.request_id);
            view.expected_total = end.expected_total.or(view.expected_total);
            status::track(view, &checkpoint);
            view.run_id = Some(end.run_id.clone());
            if let Some(run) = &last {
                view.run_records = run.records;
            }
            view.outcome = Some(outcome.to_owned());
        };
        match &end.outcome {
            Outcome::Succeeded => self.show(|view| {
                record(view);
                set_phase(view, "idle");
                view.error = None;
            }),
            Outcome::Restarted => self.show(record),
            Outcome::Closed => Err(Halt::Closed),
            Outcome::Failed(error) => {
                let phase = match error.advice {
                    Advice::WaitUntil(_) | Advice::EndRun => "waiting",
                    Advice::SkipStream => "skipped",
                    Advice::StopConnection => "failed",
                };
                let problem = status::problem(error, self.clock.now_ms());
                self.show(|view| {
                    record(view);
                    set_phase(view, phase);
                    view.error = Some(problem);
                    if let Advice::WaitUntil(at) = error.advice {
                        // The same run continues then.
                        view.outcome = None;
                        view.next_run_at = Some(at);
                    }
                })?;
                Ok(self.apply_advice(error, commands).await?)
            }
        }
    }

    /// Acts on a failure as its advice says.
    async fn apply_advice(
        &self,
        error: &SourceError,
        commands: &mut watch::Receiver<Arc<Command>>,
    ) -> Result<(), SinkClosed> {
        let stream = self.sink.state().stream();
        tracing::warn!(stream, code = error.code, %error, "a run failed");
        match error.advice {
            Advice::WaitUntil(at) => self.wait_until(at, commands).await,
            Advice::EndRun => Ok(()),
            Advice::SkipStream => self.wait_for_command(commands).await,
            Advice::StopConnection => {
                let problem = status::problem(error, self.clock.now_ms());
                self.stop_connection(problem).await
            }
        }
    }

    /// Stops the connection, and with it this task.
    async fn stop_connection(&self, problem: Problem) -> Result<(), SinkClosed> {
        // The connection may have ended, and so has stopped.
        drop(self.events.send(StreamEvent::StopConnection(problem)));
        std::future::pending().await
    }

    /// Waits for a HubSpot time, or for the next command.
    async fn wait_until(
        &self,
        at: Millis,
        commands: &mut watch::Receiver<Arc<Command>>,
    ) -> Result<(), SinkClosed> {
        let ms = at.saturating_sub(self.source.now()).max(1).unsigned_abs();
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(ms).min(LONGEST_WAIT)) => Ok(()),
            changed = commands.changed() => changed.or(Err(SinkClosed)),
        }
    }

    /// Reports that there is nothing to do, and waits for the next command.
    async fn wait_for_command(
        &self,
        commands: &mut watch::Receiver<Arc<Command>>,
    ) -> Result<(), SinkClosed> {
        // The connection may have ended.
        drop(
            self.events
                .send(StreamEvent::Idle(self.sink.state().stream().to_owned())),
        );
        commands.changed().await.or(Err(SinkClosed))
    }

    /// Changes the stream's status and queues it to be written.
    fn show(&self, change: impl FnOnce(&mut StreamStatus)) -> Result<(), Halt> {
        let (state, committer) = (self.sink.state(), self.sink.committer());
        let view = state.view(change);
        let message = committer.context().messages.stream_status(
            committer.partition,
            state.connection(),
            view,
            self.clock.now_ms(),
        );
        Ok(committer.post(vec![message?])?)
    }
}

/// An outcome's name in the log.
fn outcome(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Succeeded => "succeeded",
        Outcome::Restarted => "restarted",
        Outcome::Failed(_) => "failed",
        Outcome::Closed => "closed",
    }
}

/// Sets the phase; when the next run starts is not known.
fn set_phase(view: &mut StreamStatus, phase: &str) {
    phase.clone_into(&mut view.phase);
    view.next_run_at = None;
}

/// A run is under way.
fn begin(view: &mut StreamStatus, phase: &str, reason: &str, progress: &Progress) {
    set_phase(view, phase);
    view.expected_total = progress.expected_total.or(view.expected_total);
    let Some(run) = &progress.run else { return };
    if view.run_id.as_deref() != Some(&run.run_id) || view.outcome.is_some() {
        view.outcome = None;
        view.run_records = run.records;
    }
    view.run_id = Some(run.run_id.clone());
    view.reason = Some(reason.to_owned());
    view.request_id.clone_from(&run.request_id);
    view.error = None;
}
