//! What a stream waits for: a time, or the next command.

use std::{sync::Arc, time::Duration};

use schemas::{Command, Millis};
use tokio::sync::watch;

use super::{StreamEvent, StreamTask};
use crate::sync::{SinkClosed, Source, StreamContext};

/// Longest wait for the next run, after which the schedule is checked again:
/// HubSpot's clock may have been corrected.
const LONGEST_WAIT: Duration = Duration::from_mins(10);

impl<S: Source> StreamTask<S> {
    /// Waits for a HubSpot time, or [`LONGEST_WAIT`], or for the next command. Returns
    /// whether there is one.
    pub(super) async fn wait_until(
        &self,
        at: Millis,
        commands: &mut watch::Receiver<Arc<Command>>,
    ) -> Result<bool, SinkClosed> {
        let ms = at.saturating_sub(self.source.now()).max(1).unsigned_abs();
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(ms).min(LONGEST_WAIT)) => Ok(false),
            changed = commands.changed() => changed.map(|()| true).or(Err(SinkClosed)),
        }
    }

    /// Reports that there is nothing to do, and waits for the next command.
    pub(super) async fn wait_for_command(
        &self,
        commands: &mut watch::Receiver<Arc<Command>>,
    ) -> Result<(), SinkClosed> {
        self.report_idle();
        commands.changed().await.or(Err(SinkClosed))
    }

    /// Reports that there is nothing to do until the next command.
    pub(super) fn report_idle(&self) {
        // The connection may have ended.
        drop(
            self.events
                .send(StreamEvent::Idle(self.sink.state().stream().to_owned())),
        );
    }

    /// Waits until a stream that HubSpot refuses is tried again: at a HubSpot time, or at
    /// the next command.
    pub(super) async fn wait_out_skip(
        &self,
        at: Millis,
        commands: &mut watch::Receiver<Arc<Command>>,
    ) -> Result<(), SinkClosed> {
        self.report_idle();
        while self.source.now() < at && !self.wait_until(at, commands).await? {}
        Ok(())
    }
}

/// Returns when a command changes which properties are read.
pub(super) async fn selection_changes(
    commands: &mut watch::Receiver<Arc<Command>>,
    context: &StreamContext,
) {
    let is_other = |command: &Arc<Command>| {
        command.properties_of(&context.object_type) != context.properties.as_ref()
    };
    if commands.wait_for(is_other).await.is_err() {
        // The stream ends.
        std::future::pending::<()>().await;
    }
}
