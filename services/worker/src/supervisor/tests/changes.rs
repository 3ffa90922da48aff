//! Wakes a test when something has changed, so that it need not sleep.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::watch;

/// Longer than any test moves the clock. The clock does not move until the harness
/// gives up, so this fails a test whose change never comes.
const NEVER: Duration = Duration::from_hours(24);

/// Real time between two moves of the clock, in which a run is made.
const PAUSE: Duration = Duration::from_millis(20);

/// Changes of the log and of the requests to HubSpot. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Changes {
    counter: Arc<watch::Sender<u64>>,
    open_requests: Arc<AtomicUsize>,
}

impl Changes {
    pub(super) fn new() -> Self {
        Self {
            counter: Arc::new(watch::channel(0).0),
            open_requests: Arc::default(),
        }
    }

    pub(super) fn notify(&self) {
        self.counter.send_modify(|it| *it += 1);
    }

    /// Requests to HubSpot that have no answer yet.
    pub(super) fn open_requests(&self) -> usize {
        self.open_requests.load(Ordering::SeqCst)
    }

    /// A request that is open until it is dropped.
    pub(super) fn request(&self) -> OpenRequest {
        self.open_requests.fetch_add(1, Ordering::SeqCst);
        self.notify();
        OpenRequest(self.clone())
    }

    /// Waits until there is such a thing, while the clock moves by a minute again and
    /// again: a stream may begin to wait for its next run after its status is idle.
    pub(super) async fn until_as_minutes_pass<T>(
        &self,
        what: &str,
        find: impl Fn() -> Option<T>,
    ) -> T {
        let moving = async {
            loop {
                // The log is written by threads, which need real time.
                let pause = || crate::pause(PAUSE);
                tokio::task::spawn_blocking(pause).await.unwrap();
                tokio::time::advance(Duration::from_mins(1)).await;
            }
        };
        tokio::select! {
            found = self.until(what, find) => found,
            () = moving => unreachable!(),
        }
    }

    /// Waits until there is such a thing.
    pub(super) async fn until<T>(&self, what: &str, find: impl Fn() -> Option<T>) -> T {
        let mut changed = self.counter.subscribe();
        let found = tokio::time::timeout(NEVER, async {
            loop {
                changed.borrow_and_update();
                if let Some(found) = find() {
                    return found;
                }
                changed.changed().await.unwrap();
            }
        });
        let found = found.await;
        assert!(found.is_ok(), "never came true: {what}");
        found.unwrap()
    }
}

#[derive(Debug)]
pub(super) struct OpenRequest(Changes);

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.0.open_requests.fetch_sub(1, Ordering::SeqCst);
        self.0.notify();
    }
}
