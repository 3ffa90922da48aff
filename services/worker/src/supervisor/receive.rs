//! Decodes commands as they arrive and updates the desired state with them.

use std::{sync::Arc, time::Duration};

use chassis::{
    schema_lookup::MessageRef,
    traces::{TARGET, TraceParent},
};
use schemas::Command;
use tracing::Span;

use super::{Sources, Supervisor};
use crate::{
    desired,
    ownership::{CommandMessage, Undecodable},
};

impl<S: Sources> Supervisor<S> {
    pub(super) async fn command(&mut self, message: CommandMessage) {
        let Some(name) = String::from_utf8(message.key)
            .ok()
            .filter(|it| !it.is_empty())
        else {
            tracing::error!(
                offset = message.offset,
                "skipping a command without a connection in its key"
            );
            return;
        };
        let span = message.trace.as_ref().map(|it| span(it, &name));
        let decoded = match message.payload {
            None => None,
            Some(payload) => Some(self.decode(&name, payload).await),
        };
        if let (Some(Ok(command)), Some(span)) = (&decoded, &span)
            && let Some(trace) = TraceParent::of(span)
        {
            self.dependencies.traces.note(command, &trace);
        }
        let desired =
            desired::from_message(&name, decoded, self.dependencies.context.clock().now_ms());
        let Some(partition) = self.partitions.get_mut(&message.partition) else {
            return;
        };
        if partition
            .desired
            .apply(message.offset, name, desired)
            .is_some()
        {
            self.reconcile(message.partition);
        }
    }

    /// Decodes a command. Waits while the registry does not answer or lacks the
    /// schema of one of our commands.
    async fn decode(&self, name: &str, payload: Vec<u8>) -> Result<Command, String> {
        let payload: Arc<[u8]> = payload.into();
        let dependencies = &self.dependencies;
        let topic = &dependencies.commits.messages.topics.commands;
        let health = dependencies.context.health();
        loop {
            let decoder = Arc::clone(&dependencies.decoder);
            let (topic, key, value) = (topic.clone(), name.to_owned(), Arc::clone(&payload));
            // It blocks on the registry where a schema is new.
            let decoded = tokio::task::spawn_blocking(move || {
                let message = MessageRef {
                    topic: &topic,
                    key: key.as_bytes(),
                    value: &value,
                };
                decoder.decode(message, "Command")
            });
            match decoded.await.map_err(|error| error.to_string())? {
                Ok(command) => {
                    health.holds("registry");
                    return Ok(command);
                }
                Err(Undecodable::Poison(reason)) => return Err(reason),
                Err(Undecodable::Later(reason)) => health.fails("registry", reason),
            }
            tokio::select! {
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
                () = dependencies.context.draining().cancelled() => {
                    return Err("the process ends".to_owned());
                }
            }
        }
    }
}

/// The span of a command that is received, until it is handed to its connection.
fn span(parent: &TraceParent, connection: &str) -> Span {
    let span = tracing::info_span!(
        target: TARGET,
        "receive a command",
        otel.kind = "consumer",
        connection,
    );
    parent.adopt(&span);
    span
}
