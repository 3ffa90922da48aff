//! Completes the index of streams whose objects the log has already: what a former
//! version wrote, or an earlier connection of the same account, or what a lost index had.

use std::{sync::Arc, time::Duration};

use schemas::content_hash;

use super::ConnectionTask;
use crate::{
    crash,
    index::{Entry, StreamIndex},
    ownership::ObjectScan,
    supervisor::{Sources, halt::Halt},
    sync::{Change, Page, Sink as _, SinkClosed},
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
        let written = self.checkpoints.values().map(|it| it.records_total);
        let written: i64 = written.sum();
        let is_log_new = self.records_end.take().is_some_and(|end| end < written);
        if is_log_new {
            tracing::warn!(
                connection = self.name,
                "the topic of records has fewer messages than were written: it was made anew, \
                 so a pass writes every object"
            );
        }
        let mut reads = Vec::new();
        for stream in streams {
            let sink = self.sink(stream, portal_id);
            if is_log_new {
                sink.state().start_log_anew();
            }
            let checkpoint = sink.state().checkpoint();
            // What was written is in the log of records, if its index was lost.
            let is_lost = checkpoint.records_total > 0 && sink.state().has_no_index();
            if !checkpoint.indexed || is_lost {
                reads.push((stream.clone(), sink));
            }
        }
        let found = futures::future::try_join_all(
            reads
                .iter()
                .map(|(stream, sink)| ObjectScan {
                    portal_type: (portal_id, stream.clone()),
                    definitions: sink.state().definitions(),
                })
                .map(|scan| self.read_objects(scan)),
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
            let checkpoint = sink.state().checkpoint();
            // The destination of a new connection may lack what the log has.
            let is_new = checkpoint.last_full_at.is_none() && checkpoint.pass.is_none();
            let newest = entries.iter().map(|it| it.sequence).max().unwrap_or(0);
            let mut parts = entries.chunks(ENTRIES).peekable();
            loop {
                let mut seed: Vec<Entry> = parts.next().unwrap_or_default().to_vec();
                if is_new {
                    for entry in &mut seed {
                        entry.content_hash = content_hash::UNKNOWN;
                    }
                }
                let is_complete = parts.peek().is_none();
                let page = Page {
                    seed,
                    change: Change::Seeded {
                        newest,
                        is_complete,
                    },
                    ..Page::default()
                };
                if sink.submit(page).await.is_err() {
                    return Err(Halt::of(&sink));
                }
                crash::point(crash::Point::InSeed);
                if is_complete {
                    break;
                }
            }
        }
        Ok(())
    }

    async fn read_objects(&self, asked: ObjectScan) -> Result<StreamIndex, SinkClosed> {
        loop {
            let reader = Arc::clone(&self.dependencies);
            let read = move |asked: Vec<_>| reader.log.objects(&asked);
            let asked = asked.clone();
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
