//! The property definitions that the log has, whoever wrote them.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use chassis::{kafka::KafkaArgs, schema_lookup::MessageRef};
use rdkafka::{Message as _, message::BorrowedMessage};
use schemas::{Definitions, Topics, definitions::definitions_key};

use super::{Decoder, Undecodable, restore::read_all};

/// The definitions with the highest number, by portal and object type.
#[derive(Debug, Clone, Default)]
pub(crate) struct KnownDefinitions {
    by_key: HashMap<String, Arc<Definitions>>,
}

impl KnownDefinitions {
    /// The definitions of an object type of a portal.
    pub(crate) fn get(&self, portal_id: i64, object_type: &str) -> Option<&Arc<Definitions>> {
        self.by_key.get(&definitions_key(portal_id, object_type))
    }

    /// Stores definitions, unless some with a higher number are known.
    pub(crate) fn insert(&mut self, definitions: Definitions) {
        let key = definitions_key(definitions.portal_id, &definitions.object_type);
        let is_newest = self
            .by_key
            .get(&key)
            .is_none_or(|known| known.version <= definitions.version);
        if is_newest {
            self.by_key.insert(key, Arc::new(definitions));
        }
    }

    /// Stores the definitions of a message, if there are any in it.
    pub(super) fn take(
        &mut self,
        decoder: &Decoder,
        value: Option<MessageRef<'_>>,
    ) -> Result<(), Undecodable> {
        if let Some(value) = value {
            self.insert(decoder.decode(value, "Definitions")?);
        }
        Ok(())
    }
}

/// Reads the definitions under these keys. Blocks.
pub(crate) fn definitions(
    kafka: &KafkaArgs,
    client_id: &str,
    decoder: &Decoder,
    keys: &HashSet<String>,
) -> anyhow::Result<KnownDefinitions> {
    let topic = Topics::with_prefix(&kafka.topic_prefix).definitions;
    let mut known = KnownDefinitions::default();
    // All partitions, as keys move when partitions are added.
    let partitions = 0..kafka.record_partitions;
    read_all(kafka, client_id, &topic, partitions, |message| {
        let key = message.key().unwrap_or_default();
        let is_wanted = std::str::from_utf8(key).is_ok_and(|key| keys.contains(key));
        if !is_wanted {
            return Ok(());
        }
        let taken = known.take(decoder, message_ref(message));
        super::restore::skip_poison(taken, message)
    })?;
    Ok(known)
}

/// A message as its decoder needs it; `None` for a tombstone.
pub(super) fn message_ref<'a>(message: &'a BorrowedMessage<'_>) -> Option<MessageRef<'a>> {
    message.payload().map(|value| MessageRef {
        topic: message.topic(),
        key: message.key().unwrap_or_default(),
        value,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_number_stays_in_whatever_order_definitions_come() {
        let definitions = |version| Definitions {
            portal_id: 7,
            object_type: "contacts".to_owned(),
            version,
            fetched_at: 0,
            properties: Vec::new(),
        };
        let mut known = KnownDefinitions::default();
        for version in [2, 5, 1, 4] {
            known.insert(definitions(version));
        }
        assert_eq!(known.get(7, "contacts").map(|it| it.version), Some(5));
        assert_eq!(known.get(8, "contacts"), None);
    }
}
