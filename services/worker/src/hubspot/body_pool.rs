//! Room for the bodies of answers, used again and again: a page of 100 objects
//! is large enough that the system would otherwise map and clear its memory
//! anew each time.
//!
//! It must not know what a body holds.

use std::{
    ops::Deref,
    sync::{Arc, Mutex, PoisonError},
};

/// Rooms that are kept while nobody uses them.
const KEPT: usize = 8;
/// The largest room that is kept, in bytes: two usual pages.
const LARGEST_KEPT: usize = 512 * 1024;

/// Room for bodies, shared by all portals.
#[derive(Debug, Clone, Default)]
pub(super) struct Bodies {
    free: Arc<Mutex<Vec<Vec<u8>>>>,
}

/// A body, as far as it has come. Its room is free again when it is dropped.
#[derive(Debug)]
pub(super) struct Body {
    bytes: Vec<u8>,
    home: Bodies,
}

impl Bodies {
    /// An empty body.
    pub(super) fn room(&self) -> Body {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        Body {
            bytes: free.pop().unwrap_or_default(),
            home: self.clone(),
        }
    }
}

impl Body {
    /// Takes in an answer's body to its end. Each part is given back to the
    /// connection at once, which reads the next one into the same room.
    pub(super) async fn fill(&mut self, mut response: reqwest::Response) -> reqwest::Result<()> {
        while let Some(part) = response.chunk().await? {
            self.bytes.extend_from_slice(&part);
        }
        Ok(())
    }
}

impl Deref for Body {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        if bytes.capacity() > LARGEST_KEPT {
            return;
        }
        bytes.clear();
        let mut free = self
            .home
            .free
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if free.len() < KEPT {
            free.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_used_again_and_is_empty_then() {
        let bodies = Bodies::default();
        let mut body = bodies.room();
        body.bytes.extend_from_slice(&[7; 1_000]);
        drop(body);
        let again = bodies.room();
        assert!(again.is_empty());
        assert!(again.bytes.capacity() >= 1_000);
        assert_eq!(bodies.room().bytes.capacity(), 0);
    }

    #[test]
    fn little_room_is_kept() {
        let bodies = Bodies::default();
        let mut large = bodies.room();
        large.bytes.reserve_exact(LARGEST_KEPT + 1);
        drop(large);
        assert_eq!(bodies.room().bytes.capacity(), 0);
        let many: Vec<_> = (0..KEPT + 3).map(|_| bodies.room()).collect();
        drop(many);
        assert_eq!(bodies.free.lock().unwrap().len(), KEPT);
    }
}
