//! Between the poller and the loader: batches as they are asked for, and the
//! partitions to be read again.

use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc};

use super::batch::Batch;

/// A partition has to be read again from here, later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PartitionHold {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
}

/// A channel in which a batch lies only once the receiver asked for it, but in
/// tests, which may fill it before.
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
    /// Waits until the loader asks for a batch, so that none lies between here
    /// and there: that would be one more batch in memory. `None` where the
    /// loader has ended.
    pub(crate) async fn permit(&self) -> Option<mpsc::Permit<'_, Batch>> {
        // In this order nothing is lost where the wait is given up.
        let permit = self.batches.reserve().await.ok()?;
        tokio::select! {
            () = self.batches.closed() => return None,
            asked = self.wanted.acquire() => asked.ok()?.forget(),
        }
        Some(permit)
    }

    /// Sends without being asked; `false` where the loader has ended.
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
    /// Asks for a batch and waits for it; `None` where the poller has ended.
    /// Asks once, also where the wait is given up and begun again.
    pub(crate) async fn receive(&mut self) -> Option<Batch> {
        if !std::mem::replace(&mut self.asked, true) {
            self.wanted.add_permits(1);
        }
        let batch = self.batches.recv().await?;
        self.asked = false;
        Some(batch)
    }
}
