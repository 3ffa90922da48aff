//! Submits pages to the sink one after another, so that a later checkpoint never
//! overtakes an earlier one, while requests continue.

use std::{collections::VecDeque, future::Future, pin::Pin};

use super::{Page, Sink, SinkClosed};

/// Pages that may wait before requests pause, as the sink is then slower.
const CAPACITY: usize = 4;

type Submission<'a> = Pin<Box<dyn Future<Output = Result<(), SinkClosed>> + Send + 'a>>;

/// Pages in their order; the first is being submitted.
pub(super) struct Outbox<'a, K> {
    sink: &'a K,
    waiting: VecDeque<Page>,
    first: Option<Submission<'a>>,
}

impl<'a, K: Sink> Outbox<'a, K> {
    pub(super) fn new(sink: &'a K) -> Self {
        Self {
            sink,
            waiting: VecDeque::new(),
            first: None,
        }
    }

    pub(super) fn push(&mut self, page: Page) {
        self.waiting.push_back(page);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none() && self.waiting.is_empty()
    }

    pub(super) fn has_capacity(&self) -> bool {
        self.waiting.len() < CAPACITY
    }

    /// Submits one page. May be dropped at the await and called again, without
    /// losing the page.
    pub(super) async fn advance(&mut self) -> Result<(), SinkClosed> {
        if self.first.is_none() {
            let Some(page) = self.waiting.pop_front() else {
                return Ok(());
            };
            self.first = Some(Box::pin(self.sink.submit(page)));
        }
        if let Some(submission) = &mut self.first {
            let result = submission.await;
            self.first = None;
            return result;
        }
        Ok(())
    }

    /// Submits all pages that wait.
    pub(super) async fn drain(&mut self) -> Result<(), SinkClosed> {
        while !self.is_empty() {
            self.advance().await?;
        }
        Ok(())
    }
}
