//! Makes the tables of streams that have no record: a query of them finds no row, not
//! no table.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use crate::ingest::{TableSet, parts::Parts};

/// Pause between two looks at the streams.
const PAUSE: Duration = Duration::from_secs(1);

/// Pause after tables could not be made.
const RETRY: Duration = Duration::from_secs(30);

/// Applies the definitions of each stream whose first full pass has ended, once.
pub(crate) struct TableJob {
    pub(crate) parts: Arc<Parts>,
}

impl TableJob {
    /// Runs until the process stops.
    pub(crate) async fn run(self) {
        let Self { parts } = self;
        let mut done = HashSet::new();
        let mut failed: HashMap<_, Instant> = HashMap::new();
        loop {
            let pause = tokio::time::sleep(PAUSE);
            if parts.context.unless_draining(pause).await.is_none() {
                return;
            }
            for stream in parts.control.read_streams() {
                let target = stream.target(parts.control.as_ref(), TableSet::Live);
                let is_early = |at: &Instant| at.elapsed() < RETRY;
                if done.contains(&target) || failed.get(&target).is_some_and(is_early) {
                    continue;
                }
                match parts.preparer.apply_new(&target).await {
                    Ok(()) => {
                        done.insert(target);
                    }
                    Err(error) => {
                        let error = error.describe();
                        let (connection, object_type) = (&stream.connection, &stream.object_type);
                        tracing::warn!(
                            connection,
                            object_type,
                            error,
                            "tables cannot be made now; will retry"
                        );
                        failed.insert(target, Instant::now());
                    }
                }
            }
        }
    }
}
