//! Which account a credential leads to, and whether it may be this
//! connection's.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use schemas::{Command, Problem};

use super::{ConnectionTask, Resolved};
use crate::{
    status,
    supervisor::{Sources, claim},
    sync::{Advice, Portal, SinkClosed, Source as _, SourceError},
};

/// Before the account is asked for again, at least.
const SHORTEST: Duration = Duration::from_secs(1);
/// And at most.
const LONGEST: Duration = Duration::from_mins(1);

impl<S: Sources> ConnectionTask<S> {
    /// Finds out which account a credential leads to, and whether it may be
    /// this connection's, before anything is read from it.
    pub(super) async fn resolve(
        &mut self,
        command: &Command,
    ) -> Result<Result<(), Problem>, SinkClosed> {
        loop {
            let error = match self.connect(&command.credential).await {
                Ok((source, portal)) => {
                    return self.admit(command, Arc::new(source), &portal).await;
                }
                Err((error, now)) => (error, now),
            };
            let (error, now) = error;
            let problem = status::problem(&error, self.dependencies.context.clock().now_ms());
            let Advice::WaitUntil(at) = error.advice else {
                return Ok(Err(problem));
            };
            let mut whole = self.state(Some(&command.command_id), "starting");
            whole.error = Some(problem);
            self.show(whole).await?;
            let wait = Duration::from_millis(at.saturating_sub(now).max(0).unsigned_abs());
            tokio::time::sleep(wait.clamp(SHORTEST, LONGEST)).await;
        }
    }

    /// The source and its account; a failure comes with HubSpot's time.
    async fn connect(
        &self,
        credential: &str,
    ) -> Result<(S::Source, Portal), (SourceError, schemas::Millis)> {
        let lease = self.lease.clone();
        let local = self.dependencies.context.clock().now_ms();
        let source = self
            .dependencies
            .sources
            .connect(credential, lease)
            .await
            .map_err(|it| (it, local))?;
        match source.portal().await {
            Ok(portal) => Ok((source, portal)),
            Err(error) => Err((error, source.now())),
        }
    }

    async fn admit(
        &mut self,
        command: &Command,
        source: Arc<S::Source>,
        portal: &Portal,
    ) -> Result<Result<(), Problem>, SinkClosed> {
        let at = self.dependencies.context.clock().now_ms();
        let portal_id = portal.portal_id;
        let streams: BTreeSet<_> = self.checkpoints.keys().chain(self.sinks.keys()).collect();
        let before = streams
            .into_iter()
            .map(|stream| self.checkpoint(stream).portal_id)
            .find(|it| *it != 0 && *it != portal_id);
        if let Some(before) = before {
            return Ok(Err(Problem {
                code: "portal_changed".to_owned(),
                message: format!(
                    "the credential leads to account {portal_id}, the connection's data is of \
                     account {before}"
                ),
                advice: "use a credential of the first account, or another connection for this \
                         one"
                .to_owned(),
                at,
            }));
        }
        let holder = loop {
            match claim::claim(&self.dependencies, &self.committer, &self.name, portal_id).await {
                Ok(holder) => break holder,
                Err(_) if self.committer.has_ended() => return Err(SinkClosed),
                Err(error) => {
                    tracing::warn!(error = format!("{error:#}"), "a claim is made again");
                    tokio::time::sleep(SHORTEST).await;
                }
            }
        };
        if holder != self.name {
            return Ok(Err(Problem {
                code: "portal_taken".to_owned(),
                message: format!("account {portal_id} belongs to connection {holder:?}"),
                advice: format!("use connection {holder:?}, or delete it first"),
                at,
            }));
        }
        self.resolved = Some(Resolved {
            credential: command.credential.clone(),
            portal_id,
            source,
        });
        Ok(Ok(()))
    }
}
