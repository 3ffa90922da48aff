//! Access tokens of one credential, refreshed once for all requests that wait.
//! Secrets leave this module only as the header of a request.

mod reference;
mod refresh;
mod sent_body;

#[cfg(test)]
mod tests;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use secrecy::{ExposeSecret, SecretString};
use tokio::{
    sync::Mutex,
    task::{JoinHandle, spawn_blocking},
    time::Instant,
};

use self::{
    reference::{Credential, CredentialError, OAuth, Reference},
    refresh::{TokenEndpoint, refresh},
};
use super::{error::Fault, transport::Transport};
use crate::sync::{Advice, SourceError};

/// A token and its number.
#[derive(Debug, Clone)]
pub(super) struct Token {
    /// The value of the `Authorization` header.
    pub(super) secret: SecretString,
    /// Grows by one with each token.
    pub(super) generation: u64,
}

/// The credential of a connection.
#[derive(Debug)]
pub(super) struct Auth {
    state: Mutex<AuthState>,
    store: Arc<CredentialStore>,
    transport: Arc<Transport>,
}

/// Reads and writes the credential where its reference points.
#[derive(Debug)]
struct CredentialStore {
    reference: Reference,
    folder: PathBuf,
}

#[derive(Debug)]
struct AuthState {
    credential: Credential,
    generation: u64,
    access: Option<Access>,
    refreshing: Option<Refreshing>,
}

/// The refresh in progress. It is a separate task, so that a rotated refresh token is not
/// lost if the request that waits for it is dropped. When the connection stops, it ends
/// with it unless HubSpot may have received it.
#[derive(Debug)]
struct Refreshing {
    task: JoinHandle<Result<Refreshed, Fault>>,
    is_sent: Arc<AtomicBool>,
}

impl Drop for Refreshing {
    fn drop(&mut self) {
        if !self.is_sent.load(Ordering::Relaxed) {
            self.task.abort();
        }
    }
}

#[derive(Debug)]
struct Access {
    secret: SecretString,
    renew_at: Instant,
    /// As HubSpot named them when it gave the token.
    scopes: Option<Vec<String>>,
}

#[derive(Debug)]
struct Refreshed {
    access: Access,
    credential: OAuth,
}

impl Auth {
    /// Reads the credential behind a reference and makes no request.
    pub(super) fn resolve(
        text: &str,
        folder: PathBuf,
        transport: Arc<Transport>,
    ) -> Result<Self, SourceError> {
        let resolved = Reference::parse(text, &folder).and_then(|reference| {
            let credential = reference.read(&folder, &environment)?;
            Ok((reference, credential))
        });
        let (reference, credential) = resolved.map_err(|error| refused(&error))?;
        let state = AuthState {
            credential,
            generation: 0,
            access: None,
            refreshing: None,
        };
        let store = Arc::new(CredentialStore { reference, folder });
        Ok(Self {
            state: Mutex::new(state),
            store,
            transport,
        })
    }

    /// Whether tokens are of an OAuth app.
    pub(super) async fn is_oauth(&self) -> bool {
        matches!(self.state.lock().await.credential, Credential::OAuth(_))
    }

    /// The scopes of the access token of an OAuth app; `None` before there is one, or if
    /// HubSpot has not named them.
    pub(super) async fn granted_scopes(&self) -> Option<Vec<String>> {
        let state = self.state.lock().await;
        state.access.as_ref()?.scopes.clone()
    }

    /// The token for a request. `version` is the version of the API.
    pub(super) async fn token(&self, version: &str) -> Result<Token, Fault> {
        let mut state = self.state.lock().await;
        if let Credential::Token(secret) = &state.credential {
            return Ok(Token {
                secret: secret.clone(),
                generation: state.generation,
            });
        }
        let now = Instant::now();
        if state
            .access
            .as_ref()
            .is_none_or(|access| access.renew_at <= now)
        {
            self.refresh(&mut state, version).await?;
        }
        let secret = state.access.as_ref().map(|access| access.secret.clone());
        Ok(Token {
            secret: secret.unwrap_or_default(),
            generation: state.generation,
        })
    }

    /// Gets another token after the one of `generation` was refused. False if
    /// there is no other.
    pub(super) async fn renew(&self, generation: u64, version: &str) -> Result<bool, Fault> {
        let mut state = self.state.lock().await;
        if state.generation != generation {
            return Ok(true);
        }
        match &state.credential {
            Credential::OAuth(_) => {
                self.refresh(&mut state, version).await?;
                Ok(true)
            }
            Credential::Token(refused) => {
                // The file may have a newer token.
                let found = self.store.read().await;
                let Some(Credential::Token(found)) = found else {
                    return Ok(false);
                };
                if found.expose_secret() == refused.expose_secret() {
                    return Ok(false);
                }
                state.credential = Credential::Token(found);
                state.generation += 1;
                Ok(true)
            }
        }
    }

    /// Gets another access token. The caller has locked the state, so this
    /// happens once for all requests that wait.
    async fn refresh(&self, state: &mut AuthState, version: &str) -> Result<(), Fault> {
        if state.refreshing.is_none() {
            let Credential::OAuth(credential) = &state.credential else {
                return Ok(());
            };
            let url = self.transport.url(&["oauth", version, "token"]);
            let is_sent = Arc::new(AtomicBool::new(false));
            let endpoint = TokenEndpoint {
                transport: Arc::clone(&self.transport),
                url,
                is_sent: Arc::clone(&is_sent),
            };
            let task = refresh(endpoint, Arc::clone(&self.store), credential.clone());
            #[expect(
                clippy::disallowed_methods,
                reason = "a refresh ends by its timeouts, and must not end with a dropped request"
            )]
            let task = tokio::spawn(task);
            state.refreshing = Some(Refreshing { task, is_sent });
        }
        let Some(refreshing) = &mut state.refreshing else {
            return Ok(());
        };
        let ended = (&mut refreshing.task).await;
        state.refreshing = None;
        let refreshed = ended.map_err(|_ended| Fault::NoConnection {
            reason: "the refresh task failed",
        })??;
        state.access = Some(refreshed.access);
        state.credential = Credential::OAuth(refreshed.credential);
        state.generation += 1;
        Ok(())
    }
}

impl CredentialStore {
    async fn read(self: &Arc<Self>) -> Option<Credential> {
        let store = Arc::clone(self);
        let read = spawn_blocking(move || store.reference.read(&store.folder, &environment));
        read.await.ok()?.ok()
    }

    async fn keep(self: &Arc<Self>, used: SecretString, rotated: SecretString) {
        let store = Arc::clone(self);
        let kept = spawn_blocking(move || {
            store
                .reference
                .keep(&store.folder, &environment, &used, &rotated)
        });
        let problem = match kept.await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        tracing::error!(
            credential = self.reference.name(),
            error = problem,
            "a rotated refresh token could not be stored: authorise the app again after the next \
             restart"
        );
    }
}

/// The value of a variable, or where it has none, what is in the file that
/// `{name}_FILE` names.
fn environment(name: &str) -> Option<String> {
    let value = std::env::var_os(name);
    let file = std::env::var_os(format!("{name}_FILE")).filter(|it| !it.is_empty());
    match (value, file) {
        (Some(value), None) => value.into_string().ok(),
        (Some(value), Some(_)) if !value.is_empty() => value.into_string().ok(),
        (_, file) => reference::read_small(Path::new(&file?)).ok(),
    }
}

fn refused(error: &CredentialError) -> SourceError {
    let (code, remedy) = match error {
        CredentialError::NotAllowed { .. } => (
            "credential_invalid",
            "refer to a credential as env:HUBSPOT_… or as file:NAME in the credentials folder",
        ),
        CredentialError::Missing { .. } => (
            "credential_missing",
            "set the variable, or create the file in the credentials folder, where the worker runs",
        ),
        CredentialError::Unreadable { .. } => (
            "credential_invalid",
            "give the worker's user read permission on the file in the credentials folder",
        ),
        CredentialError::Malformed { .. } => (
            "credential_invalid",
            "store a token there, or a JSON object with client_id, client_secret and refresh_token",
        ),
    };
    SourceError {
        advice: Advice::StopConnection,
        code,
        problem: error.to_string(),
        remedy: remedy.to_owned(),
    }
}
