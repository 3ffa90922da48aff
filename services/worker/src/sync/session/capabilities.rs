//! What a run learns of its object type: what HubSpot refuses, and when that is tried again.

use futures::future::{OptionFuture, join_all};
use schemas::{Lack, Property};

use super::Session;
use crate::{
    schedule,
    sync::{Advice, Capability, Fetched, Sink, Source, SourceError},
};

impl<S: Source, K: Sink> Session<'_, S, K> {
    /// Whether the object type has a capability, or it is time to try it again.
    pub(in crate::sync) fn may_use(&self, capability: Capability) -> bool {
        let lack = self.lack(capability);
        lack.is_none_or(|it| it.retry_at <= self.source.now())
    }

    fn lack(&self, capability: Capability) -> Option<&Lack> {
        let mut lacks = self.lacks.iter();
        lacks.find(|it| it.capability == capability.as_str())
    }

    /// The object type does not have a capability: `refusal` says so.
    pub(in crate::sync) fn do_without(&mut self, capability: Capability, refusal: &SourceError) {
        let stream = self.stream.object_type.as_str();
        tracing::warn!(stream, capability = capability.as_str(), error = %refusal,
            "the run goes on without what the object type does not have");
        if !self.may_use(capability) {
            // Another request of this run has said so.
            return;
        }
        let known = self.lack(capability);
        let failures = known.map_or(0, |it| it.failures).saturating_add(1);
        let retry_at = self
            .source
            .now()
            .saturating_add(schedule::retry_lack(failures));
        let lack = Lack {
            capability: capability.as_str().to_owned(),
            message: refusal.problem.clone(),
            advice: refusal.remedy.clone(),
            failures,
            retry_at,
        };
        self.learn(capability, Some(lack));
    }

    /// The object type has a capability, as HubSpot has answered.
    pub(in crate::sync) fn can_use(&mut self, capability: Capability) {
        if self.lack(capability).is_some() {
            self.learn(capability, None);
        }
    }

    /// What a read by ids says of the type's batch read.
    pub(in crate::sync) fn learn_of_batch_reads(&mut self, refusal: Option<&SourceError>) {
        match refusal {
            Some(refusal) => self.do_without(Capability::BatchRead, refusal),
            None if self.may_use(Capability::BatchRead) => self.can_use(Capability::BatchRead),
            None => {}
        }
    }

    fn learn(&mut self, capability: Capability, lack: Option<Lack>) {
        self.lacks.retain(|it| it.capability != capability.as_str());
        self.lacks.extend(lack.clone());
        self.learnt.retain(|(known, _)| *known != capability);
        self.learnt.push((capability, lack));
    }

    /// The properties that the portal lists, those of sensitive kinds included.
    pub(super) async fn read_listed_properties(
        &mut self,
    ) -> Result<Fetched<Vec<Property>>, SourceError> {
        let (source, stream) = (self.source, self.stream);
        let object_type = &stream.object_type;
        let sensitive = Capability::SENSITIVE.map(|kind| {
            let is_read = self.may_use(kind);
            let selection = stream.properties.as_ref();
            async move {
                let read = source.sensitive_properties(object_type, kind, selection);
                OptionFuture::from(is_read.then_some(read)).await
            }
        });
        let listed = source.definitions(object_type);
        let (listed, sensitive) = futures::join!(listed, join_all(sensitive));
        let mut listed = listed?;
        self.run.requests += 1;
        for (kind, read) in Capability::SENSITIVE.into_iter().zip(sensitive) {
            if let Some(read) = read {
                listed.value.extend(self.take_sensitive(kind, read)?);
            }
        }
        Ok(listed)
    }

    /// The properties of a sensitive kind; none while HubSpot refuses them, which is no
    /// failure of the run.
    fn take_sensitive(
        &mut self,
        kind: Capability,
        read: Result<(Vec<Property>, i64), SourceError>,
    ) -> Result<Vec<Property>, SourceError> {
        match read {
            Ok((properties, requests)) => {
                self.run.requests += requests;
                self.can_use(kind);
                Ok(properties)
            }
            Err(refusal) if refusal.advice == Advice::DoWithout(kind) => {
                self.run.requests += 1;
                self.do_without(kind, &refusal);
                Ok(Vec::new())
            }
            Err(error) => Err(error),
        }
    }
}
