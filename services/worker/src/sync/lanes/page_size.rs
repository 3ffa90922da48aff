//! How many objects the next page of a lane has: half as many after one that could not
//! be had, and step by step more after those that could. Pure.

use crate::sync::FULL_PAGE;

/// Most pages of one size before a larger one is tried again.
const LONGEST_STAY: u32 = 64;

/// The size of a lane's next page.
#[derive(Debug, Clone, Copy)]
pub(super) struct PageSize {
    objects: usize,
    /// Pages to read before a larger one is tried.
    left: u32,
    /// What that number is after the next failure. It doubles with each, so that a size
    /// that never works is tried less and less often.
    stay: u32,
}

impl Default for PageSize {
    fn default() -> Self {
        Self {
            objects: FULL_PAGE,
            left: 1,
            stay: 1,
        }
    }
}

impl PageSize {
    /// How many objects the next page has.
    pub(super) fn objects(self) -> usize {
        self.objects
    }

    /// A page could not be had. False if none is smaller.
    pub(super) fn shrink(&mut self) -> bool {
        if self.objects == 1 {
            return false;
        }
        self.objects /= 2;
        self.left = self.stay;
        self.stay = (self.stay * 2).min(LONGEST_STAY);
        true
    }

    /// A page was read.
    pub(super) fn grow(&mut self) {
        if self.objects >= FULL_PAGE {
            self.stay = 1;
            return;
        }
        self.left = self.left.saturating_sub(1);
        if self.left == 0 {
            self.objects = (self.objects * 2).min(FULL_PAGE);
            self.left = 1;
        }
    }

    /// The one object that failed was found, so larger pages can work at once.
    pub(super) fn found_cause(&mut self) {
        (self.left, self.stay) = (1, 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_halves_down_to_one_and_doubles_up_to_a_full_page() {
        let mut size = PageSize::default();
        let mut sizes = vec![size.objects()];
        while size.shrink() {
            sizes.push(size.objects());
        }
        assert_eq!(sizes, [100, 50, 25, 12, 6, 3, 1]);
        size.found_cause();
        let mut sizes = Vec::new();
        while size.objects() < FULL_PAGE {
            size.grow();
            sizes.push(size.objects());
        }
        assert_eq!(sizes, [2, 4, 8, 16, 32, 64, 100]);
    }

    #[test]
    fn a_size_that_never_works_is_tried_less_and_less_often() {
        let mut size = PageSize::default();
        let (mut failures, mut read) = (0, 0);
        while read < 12_000 {
            if size.objects() > 20 {
                size.shrink();
                failures += 1;
            } else {
                read += size.objects();
                size.grow();
            }
        }
        assert!(failures < 25, "{failures}");
    }
}
