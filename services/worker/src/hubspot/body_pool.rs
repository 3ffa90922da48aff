//! Room for the pool of answers, used again and again: a page of 100 objects
//! is large enough that the system would otherwise map and clear its memory
//! anew each time.
//!
//! It must not know what a body holds.

use std::{
    ops::Deref,
    sync::{Arc, Mutex, PoisonError},
};

/// Rooms that are kept while nobody uses them.
const MAX_FREE: usize = 8;
/// The largest room that is kept, in bytes: two usual pages.
const MAX_KEPT_BYTES: usize = 512 * 1024;

/// Room for pool, shared by all portals.
#[derive(Debug, Clone, Default)]
pub(super) struct BodyPool {
    free: Arc<Mutex<Vec<Vec<u8>>>>,
}

/// A body, as far as it has come. Its room is free again when it is dropped.
#[derive(Debug)]
pub(super) struct PooledBody {
    bytes: Vec<u8>,
    pool: BodyPool,
}

impl BodyPool {
    /// An empty body.
    pub(super) fn take(&self) -> PooledBody {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        PooledBody {
            bytes: free.pop().unwrap_or_default(),
            pool: self.clone(),
        }
    }
}

impl PooledBody {
    /// Takes in an answer's body to its end. Each part is given back to the
    /// connection at once, which reads the next one into the same room.
    pub(super) async fn fill(&mut self, mut response: reqwest::Response) -> reqwest::Result<()> {
        while let Some(part) = response.chunk().await? {
            self.bytes.extend_from_slice(&part);
        }
        Ok(())
    }
}

impl Deref for PooledBody {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for PooledBody {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        if bytes.capacity() > MAX_KEPT_BYTES {
            return;
        }
        bytes.clear();
        let mut free = self
            .pool
            .free
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if free.len() < MAX_FREE {
            free.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_used_again_and_is_empty_then() {
        let pool = BodyPool::default();
        let mut body = pool.take();
        body.bytes.extend_from_slice(&[7; 1_000]);
        drop(body);
        let again = pool.take();
        assert!(again.is_empty());
        assert!(again.bytes.capacity() >= 1_000);
        assert_eq!(pool.take().bytes.capacity(), 0);
    }

    #[test]
    fn little_room_is_kept() {
        let pool = BodyPool::default();
        let mut large = pool.take();
        large.bytes.reserve_exact(MAX_KEPT_BYTES + 1);
        drop(large);
        assert_eq!(pool.take().bytes.capacity(), 0);
        let many: Vec<_> = (0..MAX_FREE + 3).map(|_| pool.take()).collect();
        drop(many);
        assert_eq!(pool.free.lock().unwrap().len(), MAX_FREE);
    }
}
