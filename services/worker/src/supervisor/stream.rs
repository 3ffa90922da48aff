//! One stream: makes a run in each slot when one is due, writes the stream's status,
//! and waits for the next run or the next command.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use schemas::{Command, EncodeError, Millis, Problem, StreamStatus};
use tokio::sync::{mpsc, watch};

use super::halt::Halt;
use crate::{
    commit::StreamSink,
    schedule::{self, Due, RunPlan, Settings, Slot, StreamDemand},
    status,
    sync::{
        self, Advice, Outcome, Progress, RunContext, RunEnd, SinkClosed, Source, SourceError,
        StreamContext,
    },
};

/// Longest wait for the next run, after which the schedule is checked again:
/// HubSpot's clock may have been corrected.
const LONGEST_WAIT: Duration = Duration::from_mins(10);

/// So long, in ms, before a run over changes passes leave room for it: what they have
/// sent at once no longer counts then.
const MAKE_WAY_BEFORE: Millis = 11_000;

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

    /// Makes the runs of all slots, side by side.
    async fn run_loop(
        &self,
        commands: &mut watch::Receiver<Arc<Command>>,
    ) -> Result<Infallible, Halt> {
        let slots = Slots::default();
        let [mut first, mut second, mut third] = [(); 3].map(|()| commands.clone());
        let end = tokio::select! {
            end = self.run_slot(Slot::Increments, &slots, &mut first) => end,
            end = self.run_slot(Slot::Pass, &slots, &mut second) => end,
            end = self.run_slot(Slot::Check, &slots, &mut third) => end,
        };
        commands.mark_unchanged();
        end
    }

    async fn run_slot(
        &self,
        slot: Slot,
        slots: &Slots,
        commands: &mut watch::Receiver<Arc<Command>>,
    ) -> Result<Infallible, Halt> {
        let mut changes = slots.changes.subscribe();
        loop {
            let command = Arc::clone(&commands.borrow_and_update());
            changes.mark_unchanged();
            match self.due(slot, &command) {
                Due::Now(plan) => {
                    if slot == Slot::Increments {
                        self.source.make_way();
                    }
                    self.run_once(plan, slots, commands).await?;
                }
                Due::At(at) => {
                    self.show_next(slots, &command)?;
                    let mut wake_at = at;
                    if slot == Slot::Increments {
                        wake_at = at.saturating_sub(MAKE_WAY_BEFORE);
                        if wake_at <= self.source.now() {
                            self.source.make_way();
                            wake_at = at;
                        }
                    }
                    tokio::select! {
                        waited = self.wait_until(wake_at, commands) => waited?,
                        _ = changes.changed() => {}
                    }
                }
                Due::Never => {
                    self.show_next(slots, &command)?;
                    tokio::select! {
                        changed = commands.changed() => changed.or(Err(SinkClosed))?,
                        _ = changes.changed() => {}
                    }
                }
            }
        }
    }

    /// Shows when the next run is due. Reports it if there is none until the next
    /// command.
    fn show_next(&self, slots: &Slots, command: &Command) -> Result<(), Halt> {
        let dues = Slot::ALL.map(|slot| self.due(slot, command));
        if dues.iter().all(|due| *due == Due::Never) {
            self.show(|view| set_phase(view, "stopped"))?;
            self.report_idle();
            return Ok(());
        }
        let times = dues.iter().filter_map(|due| match due {
            Due::At(at) => Some(*at),
            Due::Now(_) | Due::Never => None,
        });
        let next = times.min();
        self.show(|view| {
            slots.show_phase(view);
            view.next_run_at = next;
        })
    }

    fn due(&self, slot: Slot, command: &Command) -> Due {
        let stream = self.sink.state().stream();
        let demand = StreamDemand {
            running: command.state == schemas::DesiredState::Running,
            interval: command.interval_ms,
            request: command.requests.iter().find(|it| it.stream == stream),
            rechecks_from: self.source.rechecks_from(),
        };
        schedule::due(
            slot,
            &self.sink.state().checkpoint(),
            &demand,
            &self.settings,
            self.source.now(),
        )
    }

    /// Makes one run, and writes its progress.
    async fn run_once(
        &self,
        plan: RunPlan,
        slots: &Slots,
        commands: &mut watch::Receiver<Arc<Command>>,
    ) -> Result<(), Halt> {
        let state = self.sink.state();
        // Of the runs before, which the command has ended.
        drop(state.take_failure());
        let context = StreamContext {
            object_type: state.stream().to_owned(),
            definitions: state.definitions(),
            settings: self.settings,
        };
        let (progress, mut shown) = watch::channel(Progress::default());
        let checkpoint = state.checkpoint();
        let end = {
            let context = RunContext {
                source: &*self.source,
                sink: &self.sink,
                stream: &context,
                progress: &progress,
            };
            let run = sync::run(&context, &checkpoint, plan);
            let mut run = Box::pin(run);
            loop {
                tokio::select! {
                    biased;
                    end = &mut run => break end,
                    Ok(()) = shown.changed() => {
                        let progress = shown.borrow_and_update().clone();
                        self.show(|view| {
                            begin(view, &progress);
                            slots.show_phase(view);
                        })?;
                        // The backfill's first page lets increments begin.
                        slots.changed();
                    }
                }
            }
        };
        let ended = match state.take_failure() {
            Some(error) => Err(Halt::Unwritable(error)),
            None => self.ended(end, slots, commands).await,
        };
        // What this run found may make another slot's run due.
        slots.changed();
        ended
    }

    /// Writes how a run ended, and acts on its failure.
    async fn ended(
        &self,
        end: RunEnd,
        slots: &Slots,
        commands: &mut watch::Receiver<Arc<Command>>,
    ) -> Result<(), Halt> {
        let state = self.sink.state();
        let outcome = outcome(&end.outcome);
        let checkpoint = state.checkpoint();
        // After a restart the checkpoint already names the next run.
        let last = state.last_run(end.reason.slot());
        let last = last
            .filter(|it| it.run_id == end.run_id)
            .unwrap_or_default();
        tracing::info!(
            connection = state.connection(),
            stream = state.stream(),
            reason = end.reason.as_str(),
            run_id = end.run_id,
            request_id = end.request_id,
            records = last.records,
            outcome,
            "a run ended"
        );
        let now = self.source.now();
        let record = |view: &mut StreamStatus, problem: Option<Problem>, is_over: bool| {
            view.expected_total = end.expected_total.or(view.expected_total);
            let reason = end.reason.as_str();
            status::update(view, &end.run_id, reason, last.started_at, |run| {
                run.request_id.clone_from(&end.request_id);
                (run.records, run.requests) = (last.records, last.requests);
                run.error = problem;
                if is_over {
                    run.outcome = Some(outcome.to_owned());
                    run.finished_at = Some(now);
                }
            });
            status::track(view, &checkpoint);
            slots.show_phase(view);
        };
        match &end.outcome {
            Outcome::Succeeded | Outcome::Restarted => self.show(|view| record(view, None, true)),
            Outcome::Closed => Err(Halt::Closed),
            Outcome::Failed(error) => {
                let problem = status::problem(error, self.clock.now_ms());
                self.show(|view| {
                    // After a wait the same run continues.
                    let is_over = !matches!(error.advice, Advice::WaitUntil(_));
                    record(view, Some(problem), is_over);
                    match error.advice {
                        Advice::WaitUntil(at) => view.next_run_at = Some(at),
                        Advice::EndRun => {}
                        Advice::SkipStream => slots.skip(view),
                        Advice::StopConnection => set_phase(view, "failed"),
                    }
                })?;
                Ok(self.apply_advice(error, slots, commands).await?)
            }
        }
    }

    /// Acts on a failure as its advice says.
    async fn apply_advice(
        &self,
        error: &SourceError,
        slots: &Slots,
        commands: &mut watch::Receiver<Arc<Command>>,
    ) -> Result<(), SinkClosed> {
        let stream = self.sink.state().stream();
        tracing::warn!(stream, code = error.code, %error, "a run failed");
        match error.advice {
            Advice::WaitUntil(at) => self.wait_until(at, commands).await,
            Advice::EndRun => Ok(()),
            Advice::SkipStream => {
                let changed = self.wait_for_command(commands).await;
                slots.is_skipped.store(false, Ordering::Relaxed);
                changed
            }
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
        self.report_idle();
        commands.changed().await.or(Err(SinkClosed))
    }

    /// Reports that there is nothing to do until the next command.
    fn report_idle(&self) {
        // The connection may have ended.
        drop(
            self.events
                .send(StreamEvent::Idle(self.sink.state().stream().to_owned())),
        );
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
fn begin(view: &mut StreamStatus, progress: &Progress) {
    view.expected_total = progress.expected_total.or(view.expected_total);
    let Some(run) = &progress.run else { return };
    status::update(view, &run.run_id, &run.reason, run.started_at, |known| {
        known.request_id.clone_from(&run.request_id);
        (known.outcome, known.finished_at) = (None, None);
        (known.error, known.retry_at) = (None, None);
    });
    status::summarize(view);
}

/// What the slots of a stream know of each other.
#[derive(Debug)]
struct Slots {
    /// Changes when a run of one slot may make a run of another due.
    changes: watch::Sender<()>,
    /// Whether the stream is skipped until the next command.
    is_skipped: AtomicBool,
}

impl Default for Slots {
    fn default() -> Self {
        Self {
            changes: watch::Sender::new(()),
            is_skipped: AtomicBool::new(false),
        }
    }
}

impl Slots {
    fn changed(&self) {
        self.changes.send_replace(());
    }

    fn skip(&self, view: &mut StreamStatus) {
        self.is_skipped.store(true, Ordering::Relaxed);
        self.show_phase(view);
    }

    /// Shows what the runs of all slots are doing.
    fn show_phase(&self, view: &mut StreamStatus) {
        let phase = if self.is_skipped.load(Ordering::Relaxed) {
            "skipped"
        } else {
            status::phase(view)
        };
        set_phase(view, phase);
    }
}
