//! Reads the definitions topic from its beginning, and then follows it.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use chassis::{
    Context,
    kafka::reader::{Step, TopicReader},
    schema_lookup::{MessageRef, SchemaLookup},
};
use rdkafka::{ClientConfig, Message as _};
use schemas::Definitions;
use tokio::{runtime::Handle, sync::watch};

use crate::{ingest::conditions::DEFINITIONS, message_rules::decode};

/// The newest definitions by portal and object type.
#[derive(Debug, Clone, Default)]
pub(crate) struct KnownDefinitions {
    by_portal: HashMap<i64, HashMap<String, Arc<Definitions>>>,
}

impl KnownDefinitions {
    /// The newest definitions of an object type of a portal.
    pub(crate) fn get(&self, portal_id: i64, object_type: &str) -> Option<&Arc<Definitions>> {
        self.by_portal.get(&portal_id)?.get(object_type)
    }

    /// Stores definitions, unless newer ones are known. Returns whether it did.
    pub(crate) fn insert(&mut self, definitions: Definitions) -> bool {
        let types = self.by_portal.entry(definitions.portal_id).or_default();
        if types
            .get(&definitions.object_type)
            .is_some_and(|it| it.version >= definitions.version)
        {
            return false;
        }
        types.insert(definitions.object_type.clone(), Arc::new(definitions));
        true
    }
}

/// Reads the definitions topic until it is stopped.
pub(crate) struct DefinitionsReader {
    pub(crate) config: ClientConfig,
    pub(crate) topic: String,
    pub(crate) lookup: SchemaLookup,
    pub(crate) known: watch::Sender<KnownDefinitions>,
    pub(crate) runtime: Handle,
    pub(crate) context: Context,
}

impl DefinitionsReader {
    /// Blocks its thread.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let Some(mut reader) = self.open()? else {
            return Ok(());
        };
        while !self.context.draining().is_cancelled() {
            let message = match reader.step_owned() {
                Step::Message(message) => message,
                Step::Idle | Step::End(_) => continue,
                Step::Unavailable(error) => {
                    tracing::warn!(%error, "cannot read the definitions");
                    continue;
                }
            };
            let Some(value) = message.payload() else {
                continue;
            };
            let offset = message.offset();
            let message = MessageRef {
                topic: &self.topic,
                key: message.key().unwrap_or_default(),
                value,
            };
            let decoded = decode(&self.lookup, message, &self.context, DEFINITIONS, true);
            match self.runtime.block_on(decoded) {
                Some(Ok(definitions)) => {
                    self.known
                        .send_if_modified(|known| known.insert(definitions));
                }
                Some(Err(error)) => {
                    tracing::error!(offset, error, "definitions cannot be decoded");
                }
                None => return Ok(()),
            }
        }
        Ok(())
    }

    /// A reader of the whole topic, which a broker may not know yet; `None` if
    /// stopped first.
    fn open(&self) -> anyhow::Result<Option<TopicReader>> {
        let deadline = Instant::now() + Duration::from_mins(1);
        loop {
            match TopicReader::whole(&self.config, &self.topic) {
                _ if self.context.draining().is_cancelled() => return Ok(None),
                Ok(reader) => return Ok(Some(reader)),
                Err(error) if Instant::now() > deadline => return Err(error.into()),
                Err(_) => self
                    .runtime
                    .block_on(async { tokio::time::sleep(Duration::from_millis(200)).await }),
            }
        }
    }
}
