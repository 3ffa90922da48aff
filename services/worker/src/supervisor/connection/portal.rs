//! Finds the account that a credential leads to, and checks that it is this
//! connection's, before anything is read from it.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use schemas::{Command, EncodeError, Millis, Problem};

use super::{ConnectionTask, Resolved};
use crate::{
    status,
    supervisor::{Sources, claim, halt::Halt},
    sync::{Advice, Source as _, SourceError},
};

/// Shortest pause before the account is requested again.
const SHORTEST_RETRY: Duration = Duration::from_secs(1);
/// Longest pause before the account is requested again.
const LONGEST_RETRY: Duration = Duration::from_mins(1);

/// Why there is no account to read from.
pub(super) enum Unresolved {
    /// The connection cannot continue.
    Halt(Halt),
    /// The credential, or the account that it leads to, cannot be used.
    Problem(Problem),
}

impl From<Halt> for Unresolved {
    fn from(halt: Halt) -> Self {
        Self::Halt(halt)
    }
}

/// Why an account could not be requested.
struct ConnectFailure {
    error: SourceError,
    /// HubSpot's time, or the local one if HubSpot was not asked.
    now: Millis,
}

impl<S: Sources> ConnectionTask<S> {
    /// The account of a command's credential. Retries while the failure is one to
    /// wait for, and shows it in the status meanwhile.
    pub(super) async fn resolve(
        &mut self,
        command: &Command,
    ) -> Result<Resolved<S::Source>, Unresolved> {
        loop {
            let ConnectFailure { error, now } = match self.connect(&command.credential).await {
                Ok(resolved) => {
                    self.admit(command, resolved.portal_id).await?;
                    return Ok(resolved);
                }
                Err(failure) => failure,
            };
            let problem = status::problem(&error, self.dependencies.context.clock().now_ms());
            let Advice::WaitUntil(at) = error.advice else {
                return Err(Unresolved::Problem(problem));
            };
            self.start_again(command, problem).await?;
            let wait = Duration::from_millis(at.saturating_sub(now).max(0).unsigned_abs());
            tokio::time::sleep(wait.clamp(SHORTEST_RETRY, LONGEST_RETRY)).await;
        }
    }

    /// Asks HubSpot for the account of a credential.
    async fn connect(&self, credential: &str) -> Result<Resolved<S::Source>, ConnectFailure> {
        let now = self.dependencies.context.clock().now_ms();
        let sources = &self.dependencies.sources;
        let source = sources
            .connect(&self.name, credential, self.lease.clone())
            .await
            .map_err(|error| ConnectFailure { error, now })?;
        match source.portal().await {
            Ok(portal) => Ok(Resolved {
                credential: credential.to_owned(),
                portal_id: portal.portal_id,
                source: Arc::new(source),
            }),
            Err(error) => Err(ConnectFailure {
                error,
                now: source.now(),
            }),
        }
    }

    /// Checks that a portal is the one of this connection's data, and no other
    /// connection's.
    async fn admit(&mut self, command: &Command, portal_id: i64) -> Result<(), Unresolved> {
        let at = self.dependencies.context.clock().now_ms();
        let streams: BTreeSet<_> = self.checkpoints.keys().chain(self.sinks.keys()).collect();
        let before = streams
            .into_iter()
            .map(|stream| self.checkpoint(stream).portal_id)
            .find(|it| *it != 0 && *it != portal_id);
        if let Some(before) = before {
            return Err(Unresolved::Problem(Problem {
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
        self.name_portal(command, portal_id).await?;
        let holder = loop {
            match claim::claim(&self.dependencies, &self.committer, &self.name, portal_id).await {
                Ok(holder) => break holder,
                Err(_) if self.committer.has_ended() => return Err(Halt::Closed.into()),
                Err(error) => match error.downcast::<EncodeError>() {
                    Ok(error) => return Err(Halt::Unwritable(error).into()),
                    Err(error) => {
                        let error = format!("{error:#}");
                        tracing::warn!(error, "repeating the claim of a portal");
                        tokio::time::sleep(SHORTEST_RETRY).await;
                    }
                },
            }
        };
        if holder != self.name {
            return Err(Unresolved::Problem(Problem {
                code: "portal_taken".to_owned(),
                message: format!("account {portal_id} belongs to connection {holder:?}"),
                advice: format!("use connection {holder:?}, or delete it first"),
                at,
            }));
        }
        Ok(())
    }

    /// Writes the portal into the status before it is claimed, so that a deletion
    /// releases it whenever this is interrupted. A portal named before is released.
    async fn name_portal(&mut self, command: &Command, portal_id: i64) -> Result<(), Halt> {
        let mut whole = self.state(Some(&command.command_id), "starting");
        let former = whole.portal_id.replace(portal_id);
        if former == Some(portal_id) {
            return Ok(());
        }
        if let Some(former) = former {
            let release = claim::release(&self.dependencies, &self.name, former);
            self.committer.publish(vec![release]).await?;
        }
        self.show(whole).await
    }
}
