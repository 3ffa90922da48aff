//! What poller and loader exchange: batches on request, and partitions to
//! read again.

use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc};

use super::batch::Batch;

/// Asks the poller to read a partition again from this offset, later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PartitionHold {
    /// The assignment for which it counts.
    pub(crate) generation: u64,
    /// Grows with each hold. Batches say after which hold a partition was read.
    pub(crate) number: u64,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
}

/// A channel that holds a batch only after the receiver asked for one. Tests may
/// fill it beforehand with [`BatchSender::send`].
pub(crate) fn batches(capacity: usize) -> (BatchSender, BatchReceiver) {
    let (sender, receiver) = mpsc::channel(capacity);
    let wanted = Arc::new(Semaphore::new(0));
    (
        BatchSender {
            batches: sender,
            wanted: Arc::clone(&wanted),
        },
        BatchReceiver {
            batches: receiver,
            wanted,
            asked: false,
        },
    )
}

/// The poller's end.
#[derive(Debug, Clone)]
pub(crate) struct BatchSender {
    batches: mpsc::Sender<Batch>,
    /// Has a permit while the receiver waits for a batch.
    wanted: Arc<Semaphore>,
}

impl BatchSender {
    /// Waits until the loader asks for a batch; `None` if the loader has ended.
    /// A batch that waited in the channel would be one more batch in memory.
    pub(crate) async fn permit(&self) -> Option<mpsc::Permit<'_, Batch>> {
        // In this order a cancelled wait does not lose the loader's request.
        let permit = self.batches.reserve().await.ok()?;
        tokio::select! {
            () = self.batches.closed() => return None,
            asked = self.wanted.acquire() => asked.ok()?.forget(),
        }
        Some(permit)
    }

    /// Sends without a request; `false` if the loader has ended.
    pub(crate) async fn send(&self, batch: Batch) -> bool {
        self.batches.send(batch).await.is_ok()
    }
}

/// The loader's end.
#[derive(Debug)]
pub(crate) struct BatchReceiver {
    batches: mpsc::Receiver<Batch>,
    wanted: Arc<Semaphore>,
    asked: bool,
}

impl BatchReceiver {
    /// Asks for a batch and waits for it; `None` if the poller has ended. May be
    /// cancelled and called again: it asks only once per batch.
    pub(crate) async fn receive(&mut self) -> Option<Batch> {
        if !std::mem::replace(&mut self.asked, true) {
            self.wanted.add_permits(1);
        }
        let batch = self.batches.recv().await?;
        self.asked = false;
        Some(batch)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_batch_is_sent_only_after_it_was_asked_for() {
        let (sender, mut receiver) = batches(1);
        assert!(sender.permit().now_or_never().is_none());
        assert!(receiver.receive().now_or_never().is_none());
        sender.permit().await.unwrap().send(Batch::default());
        assert!(receiver.receive().await.is_some());
        assert!(sender.permit().now_or_never().is_none());
    }

    #[tokio::test]
    async fn a_cancelled_wait_for_a_batch_asks_only_once() {
        let (sender, mut receiver) = batches(2);
        for _ in 0..3 {
            assert!(receiver.receive().now_or_never().is_none());
        }
        sender.permit().await.unwrap().send(Batch::default());
        assert!(sender.permit().now_or_never().is_none());
    }

    #[tokio::test]
    async fn each_end_notices_that_the_other_has_ended() {
        let (sender, receiver) = batches(1);
        drop(receiver);
        assert!(sender.permit().await.is_none());
        assert!(!sender.send(Batch::default()).await);
        let (sender, mut receiver) = batches(1);
        drop(sender);
        assert!(receiver.receive().await.is_none());
    }
}
