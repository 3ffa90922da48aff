//! The schemas that small messages were written with.
//!
//! A message of ours whose schema the registry does not have, or has another
//! one for, can be read once the registry's data is back, so it is waited for.
//! It must not know what is done with a message.

use std::{collections::HashMap, sync::Arc};

use schemas::{Topics, lineage};

use crate::ingest::decode::SchemaSource;

/// What is known of a message's schema.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Writer {
    /// It was written with this.
    Known(String),
    /// It can never be read.
    Poison(String),
    /// It can be read later: what is missing, and what to do about it.
    Later(String),
}

/// Looks schemas up, and keeps those that fit.
#[derive(Debug)]
pub(crate) struct Writers {
    source: Arc<dyn SchemaSource>,
    topics: Topics,
    known: HashMap<u32, String>,
}

impl Writers {
    /// `own` need no registry.
    pub(crate) fn new(
        source: Arc<dyn SchemaSource>,
        topics: Topics,
        own: HashMap<u32, String>,
    ) -> Self {
        Self {
            source,
            topics,
            known: own,
        }
    }

    /// The schema of a message.
    pub(crate) async fn find(&mut self, topic: &str, key: &[u8], value: &[u8]) -> Writer {
        let Some(id) = lineage::schema_id(value) else {
            return Writer::Poison("it is not framed".to_owned());
        };
        if let Some(schema) = self.known.get(&id) {
            return Writer::Known(schema.clone());
        }
        let found = match self.source.schema(id).await {
            Ok(found) => found,
            Err(error) if error.is_transient() => return Writer::Later(error.to_string()),
            Err(error) => {
                tracing::warn!(schema_id = id, %error, "the registry refuses a schema");
                None
            }
        };
        let Some(schema) = found else {
            return match lineage::missing(&self.topics, topic, key, value) {
                Some(missing) => Writer::Later(missing.to_string()),
                None => Writer::Poison(format!("the registry has no schema {id}")),
            };
        };
        if let Some(exchanged) = lineage::exchanged(&self.topics, topic, key, value, &schema) {
            return Writer::Later(exchanged.to_string());
        }
        self.known.insert(id, schema.clone());
        Writer::Known(schema)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;
    use chassis::registry::RegistryError;
    use schemas::{Status, codec, command, status};

    use super::*;

    /// A registry whose schemas a test sets; away where it has none to give.
    #[derive(Debug, Default)]
    struct Fake(Mutex<Option<HashMap<u32, String>>>);

    #[async_trait]
    impl SchemaSource for Fake {
        async fn schema(&self, id: u32) -> Result<Option<String>, RegistryError> {
            match &*self.0.lock().unwrap() {
                Some(schemas) => Ok(schemas.get(&id).cloned()),
                None => Err(RegistryError::Unavailable("away".into())),
            }
        }
    }

    #[tokio::test]
    async fn a_message_of_ours_waits_until_its_schema_is_back() {
        let source = Arc::new(Fake::default());
        let topics = Topics::with_prefix("x.");
        let mut writers = Writers::new(
            Arc::<Fake>::clone(&source),
            topics.clone(),
            HashMap::default(),
        );
        let message = Status {
            connection: "default".to_owned(),
            ..Status::default()
        };
        let schema = codec::Schema::parse_str(status::SCHEMA).unwrap();
        let value = codec::encode(&schema, 3, &message).unwrap();
        let with = |schemas: &[(u32, &str)]| {
            let schemas = schemas.iter().map(|(id, it)| (*id, (*it).to_owned()));
            *source.0.lock().unwrap() = Some(schemas.collect());
        };
        let mut find = async |key: &str, value: &[u8]| {
            writers.find(&topics.status, key.as_bytes(), value).await
        };
        assert!(matches!(find("default", &value).await, Writer::Later(_)));
        with(&[]);
        assert!(matches!(find("default", &value).await, Writer::Later(_)));
        assert!(matches!(find("another", &value).await, Writer::Poison(_)));
        with(&[(3, command::SCHEMA)]);
        assert!(matches!(find("default", &value).await, Writer::Later(_)));
        assert!(matches!(find("default", b"text").await, Writer::Poison(_)));
        with(&[(3, status::SCHEMA)]);
        let known = Writer::Known(status::SCHEMA.to_owned());
        assert_eq!(find("default", &value).await, known);
        with(&[]);
        assert_eq!(find("default", &value).await, known, "it is kept");
    }
}
