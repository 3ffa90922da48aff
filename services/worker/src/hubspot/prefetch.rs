//! Definitions that are read ahead of their first use, while the account is.

use std::collections::HashMap;

use futures::future::join_all;
use schemas::{Millis, Property};
use tokio::sync::Mutex;

use super::{
    HubSpot,
    call::{Call, Endpoint},
    wire,
};
use crate::sync::{Fetched, Source as _};

/// How long, in ms, they can be used instead of a request.
const FRESH_MS: Millis = 60_000;

/// Definitions by object type, each used once.
#[derive(Debug, Default)]
pub(super) struct Prefetched {
    definitions: Mutex<HashMap<String, Fetched<Vec<Property>>>>,
}

impl Prefetched {
    /// Those of an object type, if they are recent.
    pub(super) async fn take(
        &self,
        object_type: &str,
        now: Millis,
    ) -> Option<Fetched<Vec<Property>>> {
        let known = self.definitions.lock().await.remove(object_type)?;
        (now.saturating_sub(known.sent_at) < FRESH_MS).then_some(known)
    }
}

impl HubSpot {
    /// The request for the definitions of an object type.
    pub(super) fn definitions_call(&self, object_type: &str) -> Call {
        let url = self.url(&["crm", "properties", self.client.version(), object_type]);
        Call::get(Endpoint::Properties, url)
    }

    /// Reads definitions of object types, all at the same time, once each. The
    /// first use reads again what failed.
    pub(super) async fn prefetch(&self, object_types: &[String]) {
        join_all(object_types.iter().map(async |object_type| {
            let call = Call {
                attempts: 1,
                ..self.definitions_call(object_type)
            };
            if let Ok(read) = self.client.call(&call, wire::properties).await {
                let mut known = self.prefetched.definitions.lock().await;
                known.insert(object_type.clone(), read);
            }
        }))
        .await;
    }

    /// Definitions read ahead, or read now.
    pub(super) async fn definitions_of(
        &self,
        object_type: &str,
    ) -> Result<Fetched<Vec<Property>>, crate::sync::SourceError> {
        if let Some(known) = self.prefetched.take(object_type, self.now()).await {
            return Ok(known);
        }
        let call = self.definitions_call(object_type);
        Ok(self.client.call(&call, wire::properties).await?)
    }
}
