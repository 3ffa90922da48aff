//! The real parts that a comparison uses: control, loader and warehouse.

use std::{collections::BTreeSet, sync::Arc};

use async_trait::async_trait;
use chassis::Clock;
use schemas::{DigestRange, Millis, RequestKind};
use uuid::Uuid;

use super::{
    StreamName, Subject,
    settle::{Failure, Ports},
};
use crate::{
    comparison::{Comparison, DifferentRange, StoredRanges},
    control::{ConnectionChange, ControlPlane},
    ingest::{Ingest, JobError},
    warehouse::{DigestQuery, Warehouse},
};

/// What a comparison uses.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) clock: Clock,
    pub(crate) control: ControlPlane,
    pub(crate) ingest: Ingest,
    pub(crate) warehouse: Arc<Warehouse>,
}

#[async_trait]
impl Ports for Parts {
    fn now_ms(&self) -> Millis {
        self.clock.now_ms()
    }

    fn leads(&self) -> bool {
        self.ingest.leads()
    }

    async fn kept(&self, streams: &[StreamName]) -> Result<Vec<Comparison>, Failure> {
        Ok(self.warehouse.last_comparisons(streams).await?)
    }

    async fn keep(&self, comparison: &Comparison) -> Result<(), Failure> {
        Ok(self.warehouse.keep_comparison(comparison).await?)
    }

    async fn until_loaded(&self) -> Result<bool, Failure> {
        Ok(self.ingest.until_loaded().await?)
    }

    async fn stored(
        &self,
        subject: &Subject,
        ranges: &[DigestRange],
    ) -> Result<StoredRanges, Failure> {
        let query = DigestQuery {
            destination: &subject.destination,
            object_type: &subject.verdict.stream,
            portal_id: subject.verdict.portal_id,
            fetch_sequence: subject.verdict.fetch_sequence,
            ranges,
        };
        Ok(self.warehouse.digests(&query).await?)
    }

    async fn dead_objects(
        &self,
        subject: &Subject,
        ranges: Vec<DifferentRange>,
    ) -> Result<BTreeSet<i64>, Failure> {
        let verdict = &subject.verdict;
        let wanted = move |id| ranges.iter().any(|range| range.has(id));
        let dead = self
            .ingest
            .dead_objects(verdict.portal_id, &verdict.stream, wanted);
        Ok(dead.await?)
    }

    async fn others_refill(&self) -> Result<bool, Failure> {
        Ok(self.ingest.is_rebuilding().await?)
    }

    async fn refill(&self) -> Result<(), Failure> {
        match self.ingest.refill().await {
            // The next look shows what is still different, and a resync is requested.
            Err(JobError::Rebuild(error)) => {
                tracing::warn!(error, "the tables were not filled again");
                Ok(())
            }
            refilled => Ok(refilled?),
        }
    }

    async fn ask_for_resync(&self, subject: &Subject) -> Result<(), Failure> {
        let change = ConnectionChange::Sync {
            streams: Some(vec![subject.verdict.stream.clone()]),
            kind: RequestKind::Resync,
            request_id: Uuid::now_v7().to_string(),
            at: self.clock.now_ms(),
        };
        self.control.submit(&subject.connection, change).await?;
        Ok(())
    }
}
