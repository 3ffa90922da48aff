//! Finds the schema that a message was written with, and keeps it.
//!
//! If the registry lacks the schema of one of our messages, or has another one under
//! its id, the message can be read once the registry's data is restored, so a reader
//! waits for it. It must not know the form of a message: callers pass functions for
//! that.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::registry::{RegistryError, SchemaSource};

/// A message, as far as a look-up needs it.
#[derive(Debug, Clone, Copy)]
pub struct MessageRef<'a> {
    /// Its topic.
    pub topic: &'a str,
    /// Its key; empty where it has none.
    pub key: &'a [u8],
    /// Its value.
    pub value: &'a [u8],
}

/// What the caller knows about its messages.
pub struct MessageRules {
    /// The schema id that a value is framed with, if it is.
    pub schema_id: fn(&[u8]) -> Option<u32>,
    /// What is wrong, and what to do about it, where a message of ours was not
    /// written with the schema that the registry has under its id, if it has
    /// one.
    pub contradiction: Box<Contradiction>,
}

/// See [`MessageRules::contradiction`].
pub type Contradiction = dyn Fn(MessageRef<'_>, Option<&str>) -> Option<String> + Send + Sync;

impl fmt::Debug for MessageRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageRules").finish_non_exhaustive()
    }
}

/// What is known of a message's schema.
#[derive(Debug, PartialEq, Eq)]
pub enum FoundSchema {
    /// The message was written with this.
    Known(Arc<str>),
    /// The message can never be read, for this reason.
    Poison(String),
    /// The message can be read later: what is missing, and what to do about it.
    Later(String),
}

/// Schemas by id, each looked up once.
///
/// A schema that fits one message is assumed to fit all with its id: use one
/// look-up per topic, or [`check`](Self::check) each message.
#[derive(Debug)]
pub struct SchemaLookup {
    source: Arc<dyn SchemaSource>,
    rules: Arc<MessageRules>,
    known: Mutex<HashMap<u32, Arc<str>>>,
}

impl SchemaLookup {
    /// `own` are schemas that this process registered, by id. They are not
    /// looked up.
    pub fn new<'a>(
        source: Arc<dyn SchemaSource>,
        rules: Arc<MessageRules>,
        own: impl IntoIterator<Item = (u32, &'a str)>,
    ) -> Self {
        let own = own.into_iter().map(|(id, schema)| (id, schema.into()));
        Self {
            source,
            rules,
            known: Mutex::new(own.collect()),
        }
    }

    /// The schema of a message. Fails only where the registry does not answer,
    /// so that the same call can succeed later.
    pub async fn find(&self, message: MessageRef<'_>) -> Result<FoundSchema, RegistryError> {
        let id = (self.rules.schema_id)(message.value);
        match id.and_then(|id| self.known().get(&id).cloned()) {
            Some(schema) => Ok(FoundSchema::Known(schema)),
            None => self.check(message).await,
        }
    }

    /// As [`find`](Self::find), but compares the message with a known schema,
    /// too.
    pub async fn check(&self, message: MessageRef<'_>) -> Result<FoundSchema, RegistryError> {
        let Some(id) = (self.rules.schema_id)(message.value) else {
            return Ok(FoundSchema::Poison("it is not framed".to_owned()));
        };
        let known = self.known().get(&id).cloned();
        let registered = match known {
            Some(schema) => Some(schema),
            None => self.registered(id).await?,
        };
        if let Some(reason) = (self.rules.contradiction)(message, registered.as_deref()) {
            return Ok(FoundSchema::Later(reason));
        }
        let Some(schema) = registered else {
            let reason = format!("the registry has no schema {id}");
            return Ok(FoundSchema::Poison(reason));
        };
        self.known().insert(id, Arc::clone(&schema));
        Ok(FoundSchema::Known(schema))
    }

    async fn registered(&self, id: u32) -> Result<Option<Arc<str>>, RegistryError> {
        match self.source.schema(id).await {
            Ok(schema) => Ok(schema.map(Into::into)),
            Err(error) if error.is_transient() => Err(error),
            Err(error) => {
                tracing::warn!(schema_id = id, %error, "the registry refuses a schema");
                Ok(None)
            }
        }
    }

    /// Forgets a schema that did not fit its message, so that it is looked up again:
    /// the registry's data may be restored meanwhile.
    pub fn forget(&self, id: u32) {
        self.known().remove(&id);
    }

    fn known(&self) -> MutexGuard<'_, HashMap<u32, Arc<str>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;

    use super::*;

    /// Without schemas it does not answer.
    #[derive(Debug, Default)]
    struct FakeRegistry(Mutex<Option<HashMap<u32, String>>>);

    impl FakeRegistry {
        fn set(&self, schemas: &[(u32, &str)]) {
            let schemas = schemas.iter().map(|(id, it)| (*id, (*it).to_owned()));
            *self.0.lock().unwrap() = Some(schemas.collect());
        }
    }

    #[async_trait]
    impl SchemaSource for FakeRegistry {
        async fn schema(&self, id: u32) -> Result<Option<String>, RegistryError> {
            match &*self.0.lock().unwrap() {
                Some(schemas) => Ok(schemas.get(&id).cloned()),
                None => Err(RegistryError::Unavailable("away".into())),
            }
        }
    }

    /// A value is a digit, its id; a message with a key is ours, and was
    /// written with schema `right`.
    fn lookup(source: &Arc<FakeRegistry>, own: &[(u32, &str)]) -> SchemaLookup {
        let rules = MessageRules {
            schema_id: |value| char::from(*value.first()?).to_digit(10),
            contradiction: Box::new(|message, schema| {
                let fits = message.key.is_empty() || schema == Some("right");
                (!fits).then(|| format!("{schema:?}: restore the registry"))
            }),
        };
        let own = own.iter().copied();
        SchemaLookup::new(Arc::<FakeRegistry>::clone(source), Arc::new(rules), own)
    }

    fn message<'a>(key: &'a str, value: &'a str) -> MessageRef<'a> {
        MessageRef {
            topic: "topic",
            key: key.as_bytes(),
            value: value.as_bytes(),
        }
    }

    #[tokio::test]
    async fn a_message_of_ours_waits_until_its_schema_is_back() {
        let source = Arc::new(FakeRegistry::default());
        let lookup = lookup(&source, &[]);
        let ours = message("ours", "3");
        assert!(lookup.find(ours).await.unwrap_err().is_transient());
        source.set(&[]);
        let missing = lookup.find(ours).await.unwrap();
        assert_eq!(
            missing,
            FoundSchema::Later("None: restore the registry".to_owned())
        );
        source.set(&[(3, "wrong")]);
        let exchanged = lookup.find(ours).await.unwrap();
        assert_eq!(
            exchanged,
            FoundSchema::Later("Some(\"wrong\"): restore the registry".to_owned())
        );
        source.set(&[(3, "right")]);
        let known = FoundSchema::Known("right".into());
        assert_eq!(lookup.find(ours).await.unwrap(), known);
        source.set(&[]);
        assert_eq!(lookup.find(ours).await.unwrap(), known, "it is kept");
        lookup.forget(3);
        assert_eq!(lookup.find(ours).await.unwrap(), missing, "it is forgotten");
    }

    #[tokio::test]
    async fn a_foreign_message_without_a_schema_is_poison() {
        let source = Arc::new(FakeRegistry::default());
        source.set(&[]);
        let lookup = lookup(&source, &[]);
        for value in ["3", "text"] {
            let found = lookup.find(message("", value)).await.unwrap();
            assert!(matches!(found, FoundSchema::Poison(_)), "{found:?}");
        }
    }

    #[tokio::test]
    async fn a_known_schema_that_does_not_fit_a_message_is_found_by_a_check() {
        let source = Arc::new(FakeRegistry::default());
        source.set(&[(3, "wrong")]);
        let lookup = lookup(&source, &[]);
        let known = FoundSchema::Known("wrong".into());
        assert_eq!(lookup.check(message("", "3")).await.unwrap(), known);
        let found = lookup.check(message("ours", "3")).await.unwrap();
        assert!(matches!(found, FoundSchema::Later(_)), "{found:?}");
    }

    #[tokio::test]
    async fn schemas_of_our_own_need_no_registry() {
        let source = Arc::new(FakeRegistry::default());
        let lookup = lookup(&source, &[(3, "right")]);
        let known = FoundSchema::Known("right".into());
        assert_eq!(lookup.find(message("ours", "3")).await.unwrap(), known);
    }
}
