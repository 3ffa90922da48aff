//! One stream: makes a run in each slot when one is due, writes the stream's status,
//! and waits for the next run or the next command.

use std::{convert::Infallible, sync::Arc, time::Duration};

use schemas::{Command, EncodeError, Millis, Problem, StreamStatus};
use tokio::sync::{mpsc, watch};
use tracing::Instrument as _;

mod confirmation;
mod run_span;
mod slots;
mod waits;

use confirmation::{is_confirmed, waiting};
use slots::Slots;
use waits::selection_changes;

use super::{command_traces::CommandTraces, halt::Halt};
use crate::{
    commit::StreamSink,
    schedule::{self, Due, Reason, RunPlan, Settings, Slot, Start, StreamDemand},
    status,
    sync::{
        self, Advice, Outcome, Progress, RunContext, RunEnd, SinkClosed, Source, SourceError,
        StreamContext,
    },
};

/// So long, in ms, before a run over changes passes leave room for it: what they have
/// sent at once no longer counts then.
const MAKE_WAY_BEFORE: Millis = 11_000;

/// How often a run looks how much of the account's limits is used.
const LOOK_AT_BUDGET: Duration = Duration::from_secs(2);

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
    pub(super) traces: Arc<CommandTraces>,
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
            status::set_phase(view, "failed");
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
                        waited = self.wait_until(wake_at, commands) => {
                            waited?;
                        }
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
            self.show(|view| status::set_phase(view, "stopped"))?;
            self.report_idle();
            return Ok(());
        }
        let times = dues.iter().filter_map(|due| match due {
            Due::At(at) => Some(*at),
            Due::Now(_) | Due::Never => None,
        });
        // Before a run that begins now no later one is shown.
        let next = times.min().filter(|_| !dues.iter().any(begins));
        self.show(|view| {
            slots.show_phase(view, next);
        })
    }

    fn due(&self, slot: Slot, command: &Command) -> Due {
        let stream = self.sink.state().stream();
        let demand = StreamDemand {
            running: command.state == schemas::DesiredState::Running,
            interval: command.interval_ms,
            passes: self.settings.passes(command.reconcile),
            request: command.requests.iter().find(|it| it.stream == stream),
            rechecks_from: self.source.rechecks_from(),
            size: self.sink.state().size(),
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
        let checkpoint = state.checkpoint();
        let context = StreamContext {
            object_type: state.stream().to_owned(),
            definitions: state.definitions(),
            settings: self.settings,
            deletions_confirmed: is_confirmed(&commands.borrow(), &checkpoint),
            properties: commands.borrow().properties_of(state.stream()).cloned(),
        };
        let mut settings = commands.clone();
        let (progress, mut shown) = watch::channel(Progress::default());
        let end = {
            let context = RunContext {
                source: &*self.source,
                sink: &self.sink,
                stream: &context,
                progress: &progress,
            };
            let mut looks = tokio::time::interval(LOOK_AT_BUDGET);
            let (connection, stream) = (state.connection(), state.stream());
            let span = run_span::begin(&plan, connection, stream, &self.traces);
            let run = async {
                let end = sync::run(&context, &checkpoint, plan).await;
                run_span::end(&tracing::Span::current(), &end);
                end
            };
            let mut run = Box::pin(run.instrument(span));
            loop {
                tokio::select! {
                    biased;
                    end = &mut run => break end,
                    // What is excluded from now on is not read any more: the run continues
                    // where it is, with the new selection.
                    () = selection_changes(&mut settings, context.stream) => {
                        slots.changed();
                        return Ok(());
                    }
                    // Written with the next page.
                    _ = looks.tick() => {
                        state.set_budget(self.source.budget());
                    }
                    Ok(()) = shown.changed() => {
                        let progress = shown.borrow_and_update().clone();
                        self.show(|view| {
                            status::begin(view, &progress);
                            slots.show_phase(view, None);
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
        let outcome = end.outcome.as_str();
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
                run.unreadable = last.unreadable;
                run.unreadable_ids.clone_from(&last.unreadable_ids);
                run.error = problem;
                if is_over {
                    run.outcome = Some(outcome.to_owned());
                    run.finished_at = Some(now);
                }
            });
            if end.reason == Reason::Confirm {
                status::deletions_wait(view, waiting(&end.outcome, &checkpoint));
            }
            status::track(view, &checkpoint);
            slots.show_phase(view, None);
        };
        match &end.outcome {
            Outcome::Succeeded | Outcome::Restarted => {
                slots.succeeded();
                self.show(|view| record(view, None, true))
            }
            Outcome::Closed => Err(Halt::Closed),
            Outcome::Failed(error) => {
                let tried_again =
                    (error.advice == Advice::SkipStream).then(|| slots.skip(self.source.now()));
                let problem = status::problem(error, self.clock.now_ms());
                self.show(|view| {
                    // After a wait the same run continues.
                    let is_over = !matches!(error.advice, Advice::WaitUntil(_));
                    record(view, Some(problem), is_over);
                    match error.advice {
                        Advice::WaitUntil(at) => view.next_run_at = Some(at),
                        Advice::EndRun | Advice::DoWithout(_) | Advice::SkipStream => {}
                        Advice::StopConnection => status::set_phase(view, "failed"),
                    }
                })?;
                if let Some(at) = tried_again {
                    tracing::warn!(stream = state.stream(), code = error.code, %error,
                        "the stream is skipped for now");
                    self.wait_out_skip(at, commands).await?;
                    slots.end_skip();
                    return Ok(());
                }
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
            Advice::WaitUntil(at) => self.wait_until(at, commands).await.map(drop),
            Advice::EndRun | Advice::DoWithout(_) | Advice::SkipStream => Ok(()),
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

    /// Changes the stream's status and queues it to be written.
    fn show(&self, change: impl FnOnce(&mut StreamStatus)) -> Result<(), Halt> {
        let (state, committer) = (self.sink.state(), self.sink.committer());
        let budget = self.source.budget();
        let view = state.view(|view| {
            change(view);
            view.budget = budget;
        });
        let message = committer.context().messages.stream_status(
            committer.partition,
            state.connection(),
            view,
            self.clock.now_ms(),
        );
        Ok(committer.post(vec![message?])?)
    }
}

/// Whether a run is due that is not under way.
fn begins(due: &Due) -> bool {
    matches!(due, Due::Now(plan) if plan.start == Start::New)
}
