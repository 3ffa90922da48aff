//! Completes the index of streams whose objects the log has already: what a former
//! version wrote, or an earlier connection of the same account.

use std::{sync::Arc, time::Duration};

use super::ConnectionTask;
use crate::{
    index::{Entry, StreamIndex},
    supervisor::{Sources, halt::Halt},
    sync::{Page, Sink as _, SinkClosed},
};

/// Pause before a scan that failed is made again.
const RETRY: Duration = Duration::from_secs(1);
/// Entries of one page.
const ENTRIES: usize = 10_000;

impl<S: Sources> ConnectionTask<S> {
    /// Fills the index of each stream that lacks it, in one scan of the log, before
    /// anything is read from HubSpot. What is interrupted is made again: an entry is
    /// put as often as it is met.
    pub(super) async fn seed_indexes(&mut self, streams: &[String]) -> Result<(), Halt> {
        let Some(portal_id) = self.resolved.as_ref().map(|it| it.portal_id) else {
            return Ok(());
        };
        let mut reads = Vec::new();
        for stream in streams {
            let sink = self.sink(stream, portal_id);
            if !sink.state().checkpoint().indexed {
                reads.push((stream.clone(), sink));
            }
        }
        let found = futures::future::try_join_all(
            reads
                .iter()
                .map(|(stream, _)| self.read_objects(portal_id, stream)),
        );
        let found = found.await?;
        for ((stream, sink), index) in reads.into_iter().zip(found) {
            let entries = index.range(i64::MIN..=i64::MAX);
            tracing::info!(
                connection = self.name,
                stream,
                objects = entries.len(),
                "the index is filled from the log"
            );
            let mut checkpoint = sink.state().checkpoint();
            let newest = entries.iter().map(|it| it.sequence).max();
            checkpoint.fetch_sequence = checkpoint.fetch_sequence.max(newest.unwrap_or(0));
            let mut parts = entries.chunks(ENTRIES).peekable();
            loop {
                let seed: Vec<Entry> = parts.next().unwrap_or_default().to_vec();
                checkpoint.indexed = parts.peek().is_none();
                let page = Page {
                    seed,
                    checkpoint: checkpoint.clone(),
                    ..Page::default()
                };
                if sink.submit(page).await.is_err() {
                    return Err(Halt::of(&sink));
                }
                if checkpoint.indexed {
                    break;
                }
            }
        }
        Ok(())
    }

    async fn read_objects(&self, portal_id: i64, stream: &str) -> Result<StreamIndex, SinkClosed> {
        loop {
            let reader = Arc::clone(&self.dependencies);
            let read = move |asked: Vec<_>| reader.log.objects(&asked);
            let asked = (portal_id, stream.to_owned());
            match self.dependencies.objects.read(asked, read).await {
                Ok(found) => return Ok(found),
                Err(_) if self.committer.has_ended() => return Err(SinkClosed),
                Err(error) => {
                    let error = format!("{error:#}");
                    tracing::warn!(error, "repeating the scan of the records");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }
}
