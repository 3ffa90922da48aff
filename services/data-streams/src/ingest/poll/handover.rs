//! Between the poller and the loader: batches as they are asked for, and the
//! partitions to be read again.

use tokio::sync::{Semaphore, mpsc};

use super::batch::Batch;

/// A partition has to be read again from here, later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hold {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
}

/// Waits until the loader asks for a batch, so that none lies between here and
/// there: that would be one more batch in memory. `None` where the loader has
/// ended.
pub(crate) async fn turn<'o>(
    out: &'o mpsc::Sender<Batch>,
    wanted: &Semaphore,
) -> Option<mpsc::Permit<'o, Batch>> {
    // In this order nothing is lost where the wait is given up.
    let room = out.reserve().await.ok()?;
    tokio::select! {
        () = out.closed() => return None,
        asked = wanted.acquire() => asked.ok()?.forget(),
    }
    Some(room)
}
