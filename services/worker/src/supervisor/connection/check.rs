//! Tries what the credential of a connection can read, and writes nothing but the result
//! into the connection's status.

use std::{sync::Arc, time::Duration};

use futures::{future::join_all, join};
use schemas::{
    CheckStatus, CheckedCapability, CheckedStream, Command, Definitions, Problem,
    checkpoint::ARCHIVED_LIST,
};

use super::ConnectionTask;
use crate::{
    status,
    supervisor::{Sources, halt::Halt},
    sync::{Capability, ListRequest, Search, Source, SourceError},
};

/// How long one request may take, with its repetitions, until it counts as not answered.
const PATIENCE: Duration = Duration::from_secs(10);

impl<S: Sources> ConnectionTask<S> {
    /// Makes the check that a command asks for, unless that was made before.
    pub(super) async fn check(&mut self, command: &Command) -> Result<(), Halt> {
        let made = self.whole.as_ref().and_then(|it| it.check.as_ref());
        let Some(check_id) = command.check_id.as_ref() else {
            return Ok(());
        };
        if made.is_some_and(|it| it.check_id == *check_id) {
            return Ok(());
        }
        let at = self.dependencies.context.clock().now_ms();
        let mut check = CheckStatus {
            check_id: check_id.clone(),
            at,
            ..CheckStatus::default()
        };
        match self.source_to_check(&command.credential).await {
            Err(error) => check.error = Some(status::problem(&error, at)),
            Ok(source) => match within(at, source.portal()).await {
                Err(problem) => check.error = Some(problem),
                Ok(portal) => {
                    check.portal_id = Some(portal.portal_id);
                    let streams = command.streams.iter();
                    let streams = streams.map(|it| check_stream(&*source, it, command, at));
                    let scopes = tokio::time::timeout(PATIENCE, source.scopes());
                    let (scopes, streams) = join!(scopes, join_all(streams));
                    check.scopes = scopes.ok().flatten();
                    check.streams = streams;
                }
            },
        }
        let mut whole = self
            .whole
            .clone()
            .unwrap_or_else(|| self.state(None, "stopped"));
        whole.check = Some(check);
        self.show(whole).await
    }

    /// The source in use, if it has this credential, as it knows the account's limits; or
    /// another one.
    async fn source_to_check(&self, credential: &str) -> Result<Arc<S::Source>, SourceError> {
        let known = self.resolved.as_ref();
        if let Some(known) = known.filter(|it| it.credential == credential) {
            return Ok(Arc::clone(&known.source));
        }
        let sources = &self.dependencies.sources;
        let source = sources
            .connect(&self.name, credential, self.lease.clone())
            .await?;
        Ok(Arc::new(source))
    }
}

/// Tries all that the sync of an object type can use.
async fn check_stream<S: Source>(
    source: &S,
    object_type: &str,
    command: &Command,
    at: i64,
) -> CheckedStream {
    let none = Definitions::none(0, object_type);
    let page = |archived| ListRequest {
        archived,
        after: None,
        limit: 1,
        ids_only: true,
    };
    let properties = within(at, source.definitions(object_type)).await;
    let live = within(at, source.list(object_type, page(false), &none)).await;
    let archived = within(at, source.list(object_type, page(true), &none)).await;
    let found = within(at, source.search(object_type, Search::HIGHEST)).await;
    // Where there is no object, one is asked for that does not exist.
    let id = live.as_ref().ok().and_then(|it| it.value.objects.first());
    let ids = [id.map_or(1, |it| it.id)];
    let read = within(at, source.batch_read(object_type, &ids, false, &none)).await;
    let has_properties = properties.is_ok();
    let mut tried = vec![
        ("properties", properties.err()),
        ("list", live.err()),
        (ARCHIVED_LIST, archived.err()),
        (Capability::Search.as_str(), found.err()),
        (Capability::BatchRead.as_str(), read.err()),
    ];
    if has_properties {
        source.forget_sensitive(object_type);
        let selection = command.properties_of(object_type);
        let kinds = Capability::SENSITIVE.map(|kind| async move {
            let read = source.sensitive_properties(object_type, kind, selection);
            (kind.as_str(), within(at, read).await.err())
        });
        tried.extend(join_all(kinds).await);
    }
    let capabilities = tried
        .into_iter()
        .map(|(capability, error)| CheckedCapability {
            capability: capability.to_owned(),
            error,
        });
    CheckedStream {
        name: object_type.to_owned(),
        capabilities: capabilities.collect(),
    }
}

/// The answer, or why there is none within [`PATIENCE`] from `at` on.
async fn within<T, E: Into<SourceError>>(
    at: i64,
    answer: impl Future<Output = Result<T, E>>,
) -> Result<T, Problem> {
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(status::problem(&error.into(), at)),
        Err(_elapsed) => Err(Problem {
            code: "no_answer".to_owned(),
            message: format!(
                "HubSpot has given no usable answer within {} s",
                PATIENCE.as_secs()
            ),
            advice: "check again later; see status.hubspot.com if it lasts".to_owned(),
            at,
        }),
    }
}
