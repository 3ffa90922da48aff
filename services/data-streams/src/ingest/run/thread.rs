//! Runs blocking code on a named thread that can be awaited.

use std::future::Future;

use anyhow::Context as _;
use tokio::sync::oneshot;

/// Runs blocking code on its own thread. The future ends with the thread.
pub(super) fn on_thread(
    name: &'static str,
    run: impl FnOnce() -> anyhow::Result<()> + Send + 'static,
) -> anyhow::Result<impl Future<Output = anyhow::Result<()>>> {
    let (end, ended) = oneshot::channel();
    std::thread::Builder::new()
        .name(format!("ingest-{name}"))
        .spawn(move || {
            // Nobody receives the result if the process is being cut off.
            drop(end.send(run()));
        })
        .with_context(|| format!("thread {name} cannot be started"))?;
    Ok(async move {
        ended
            .await
            .unwrap_or_else(|_| Err(anyhow::anyhow!("it panicked")))
            .with_context(|| format!("ingest thread {name}"))
    })
}
