//! Which messages are ours: they can be read once the registry has the schemas
//! that they were written with. Readers of the small topics wait for these.

use std::{sync::Arc, time::Duration};

use chassis::{
    Context,
    schema_lookup::{FoundSchema, MessageRef, MessageRules, SchemaLookup},
};
use schemas::{Topics, codec, lineage};
use serde::de::DeserializeOwned;

/// Time between two look-ups while the registry lacks a schema.
const RETRY: Duration = Duration::from_secs(1);

/// The rules for messages of these topics.
pub(crate) fn message_rules(topics: Topics) -> Arc<MessageRules> {
    Arc::new(MessageRules {
        schema_id: lineage::schema_id,
        contradiction: Box::new(move |it, schema| {
            lineage::contradiction(&topics, it.topic, it.key, it.value, schema)
        }),
    })
}

/// Decodes a message of a small topic, or says why it never can be. Waits for a
/// registry that does not answer or whose data has to be restored: `condition`
/// fails meanwhile, and holds again after that if `holds_after`. `None` if the
/// process drains first.
pub(crate) async fn decode<T: DeserializeOwned>(
    lookup: &SchemaLookup,
    message: MessageRef<'_>,
    context: &Context,
    condition: &'static str,
    holds_after: bool,
) -> Option<Result<T, String>> {
    let mut waited = false;
    let schema = loop {
        let reason = match lookup.find(message).await {
            Ok(FoundSchema::Known(schema)) => break Ok(schema),
            Ok(FoundSchema::Poison(reason)) => break Err(reason),
            Ok(FoundSchema::Later(reason)) => reason,
            Err(error) => error.to_string(),
        };
        waited = true;
        context.health().fails(condition, reason);
        context.unless_draining(tokio::time::sleep(RETRY)).await?;
    };
    if waited && holds_after {
        context.health().holds(condition);
    }
    Some(schema.and_then(|schema| {
        let framed = codec::unframe(message.value).map_err(|error| error.to_string())?;
        codec::decode(&schema, framed.datum).map_err(|error| error.to_string())
    }))
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, sync::Mutex};

    use async_trait::async_trait;
    use chassis::registry::{RegistryError, SchemaSource};
    use schemas::{Status, command, status};

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
