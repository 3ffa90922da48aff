//! Which messages are ours: they can be read once the registry has the schemas
//! that they were written with.

use std::sync::Arc;

use chassis::schema_lookup::MessageRules;
use schemas::{Topics, lineage};

/// The rules for messages of these topics.
pub(crate) fn message_rules(topics: Topics) -> Arc<MessageRules> {
    Arc::new(MessageRules {
        schema_id: lineage::schema_id,
        contradiction: Box::new(move |it, schema| {
            lineage::contradiction(&topics, it.topic, it.key, it.value, schema)
        }),
    })
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, sync::Mutex};

    use async_trait::async_trait;
    use chassis::{
        registry::{RegistryError, SchemaSource},
        schema_lookup::{FoundSchema, MessageRef, SchemaLookup},
    };
    use schemas::{Status, codec, command, status};

    use super::*;

    #[derive(Debug, Default)]
    struct FakeSchemas(Mutex<HashMap<u32, String>>);

    #[async_trait]
    impl SchemaSource for FakeSchemas {
        async fn schema(&self, id: u32) -> Result<Option<String>, RegistryError> {
            Ok(self.0.lock().unwrap().get(&id).cloned())
        }
    }

    #[tokio::test]
    async fn a_message_of_ours_waits_until_its_schema_is_back() {
        let source = Arc::new(FakeSchemas::default());
        let topics = Topics::with_prefix("x.");
        let lookup = SchemaLookup::new(
            Arc::<FakeSchemas>::clone(&source),
            message_rules(topics.clone()),
            [],
        );
        let message = Status {
            connection: "default".to_owned(),
            ..Status::default()
        };
        let schema = codec::Schema::parse_str(status::SCHEMA).unwrap();
        let value = codec::encode(&schema, 3, &message).unwrap();
        let with = |schemas: &[(u32, &str)]| {
            let schemas = schemas.iter().map(|(id, it)| (*id, (*it).to_owned()));
            *source.0.lock().unwrap() = schemas.collect();
        };
        let find = async |key: &str, value: &[u8]| {
            let message = MessageRef {
                topic: &topics.status,
                key: key.as_bytes(),
                value,
            };
            lookup.find(message).await.unwrap()
        };
        let waits = |found| matches!(found, FoundSchema::Later(_));
        let is_poison = |found| matches!(found, FoundSchema::Poison(_));
        assert!(waits(find("default", &value).await));
        assert!(is_poison(find("another", &value).await));
        with(&[(3, command::SCHEMA)]);
        assert!(waits(find("default", &value).await));
        assert!(is_poison(find("default", b"text").await));
        with(&[(3, status::SCHEMA)]);
        let known = FoundSchema::Known(status::SCHEMA.into());
        assert_eq!(find("default", &value).await, known);
        with(&[]);
        assert_eq!(find("default", &value).await, known, "it is kept");
    }
}
