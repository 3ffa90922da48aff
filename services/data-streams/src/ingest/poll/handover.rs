//! What passes between poller and loader: batches on request, and partitions to
//! read again.

use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc};

use super::batch::Batch;

/// Asks the poller to read a partition again from this offset, later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PartitionHold {
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
