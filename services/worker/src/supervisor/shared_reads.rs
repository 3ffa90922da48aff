//! Reads of the log by many callers at a time: a thousand connections may start
//! together, and each read needs a client.

use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

use anyhow::Context as _;
use tokio::sync::{Mutex as AsyncMutex, oneshot};

/// What one caller asks for, and where its answer goes.
type Waiting<Q, A> = (Q, oneshot::Sender<A>);

/// One read for all callers that wait.
pub(crate) struct SharedReads<Q, A> {
    waiting: Mutex<Vec<Waiting<Q, A>>>,
    /// Its holder reads for all callers that wait.
    reading: AsyncMutex<()>,
}

impl<Q: Send + 'static, A: Send + 'static> SharedReads<Q, A> {
    /// The answer to a question. `read` answers those of all callers, in their
    /// order, and may block.
    pub(super) async fn read(
        &self,
        question: Q,
        read: impl FnOnce(Vec<Q>) -> anyhow::Result<Vec<A>> + Send + 'static,
    ) -> anyhow::Result<A> {
        let (answer, mut answered) = oneshot::channel();
        self.waiting().push((question, answer));
        tokio::select! {
            biased;
            answer = &mut answered => return answer.context("another caller's read failed"),
            _reading = self.reading.lock() => {
                let (questions, senders): (Vec<_>, Vec<_>) = self.waiting().drain(..).unzip();
                let answers = tokio::task::spawn_blocking(move || read(questions))
                    .await
                    .context("reading panicked")??;
                for (answer, sender) in answers.into_iter().zip(senders) {
                    // The caller may be gone.
                    drop(sender.send(answer));
                }
            }
        }
        answered.await.context("a read answered too few questions")
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Waiting<Q, A>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<Q, A> Default for SharedReads<Q, A> {
    fn default() -> Self {
        Self {
            waiting: Mutex::default(),
            reading: AsyncMutex::default(),
        }
    }
}

impl<Q, A> fmt::Debug for SharedReads<Q, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedReads").finish_non_exhaustive()
    }
}
