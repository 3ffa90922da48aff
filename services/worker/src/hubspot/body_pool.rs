//! Reuses the buffers of answers' bodies: a page of 100 objects is so large
//! that the system would otherwise map and clear its memory for each one.

use std::{
    ops::Deref,
    sync::{Arc, Mutex, PoisonError},
};

/// Free buffers kept at most.
const MAX_FREE: usize = 8;
/// Larger buffers are not kept, in bytes: about two usual pages.
const MAX_KEPT_BYTES: usize = 512 * 1024;

/// Free buffers, shared by all portals.
#[derive(Debug, Clone, Default)]
pub(super) struct BodyPool {
    free: Arc<Mutex<Vec<Vec<u8>>>>,
}

/// A body, as far as it has arrived. Dropping it returns the buffer to the pool.
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
    /// Reads an answer's body to its end. Each chunk is dropped at once, so that
    /// the connection reads the next one into the same memory.
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
    fn a_returned_buffer_is_reused_and_empty() {
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
    fn neither_large_buffers_nor_many_are_kept() {
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
