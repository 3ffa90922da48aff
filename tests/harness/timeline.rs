//! The seed of all random choices of a test, and the time of each fault: a
//! failure prints both, so that it can be reproduced.

use std::{
    collections::hash_map::DefaultHasher,
    hash::{Hash as _, Hasher as _},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use rand::{SeedableRng as _, rngs::StdRng};

/// How many entries, the last ones, a failure prints.
const PRINTED: usize = 400;

/// A seed and the events so far. Clones share them.
#[derive(Debug, Clone)]
pub struct Timeline {
    seed: u64,
    began: Instant,
    entries: Arc<Mutex<Vec<(Duration, String)>>>,
    printed: bool,
}

impl Timeline {
    /// A timeline without events.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            began: Instant::now(),
            entries: Arc::default(),
            printed: false,
        }
    }

    /// Prints each entry when it is made.
    #[must_use]
    pub fn printed(mut self) -> Self {
        self.printed = true;
        self
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Time since it began.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// The random choices of one actor. Each actor has its own, so that they do
    /// not depend on when the others choose.
    pub fn choices(&self, actor: &str) -> StdRng {
        let mut hasher = DefaultHasher::new();
        (self.seed, actor).hash(&mut hasher);
        StdRng::seed_from_u64(hasher.finish())
    }

    /// Adds an event that happens now.
    pub fn note(&self, what: impl Into<String>) {
        let (at, what) = (self.elapsed(), what.into());
        if self.printed {
            #[expect(clippy::print_stderr, reason = "progress of a long run")]
            {
                eprintln!("{:9.3} {what}", at.as_secs_f64());
            }
        }
        self.entries.lock().unwrap().push((at, what));
    }

    /// The seed and the last entries, as text.
    pub fn text(&self) -> String {
        use std::fmt::Write as _;

        let entries = self.entries.lock().unwrap();
        let mut text = format!("seed {}, {} entries\n", self.seed, entries.len());
        for (at, what) in entries.iter().skip(entries.len().saturating_sub(PRINTED)) {
            let _infallible = writeln!(text, "{:9.3} {what}", at.as_secs_f64());
        }
        text
    }

    /// A guard that prints seed and entries if the test fails before it is
    /// dropped.
    pub fn guard(&self) -> PrintOnFailure {
        PrintOnFailure(self.clone())
    }
}

/// See [`Timeline::guard`].
#[derive(Debug)]
pub struct PrintOnFailure(Timeline);

impl Drop for PrintOnFailure {
    fn drop(&mut self) {
        if std::thread::panicking() {
            #[expect(clippy::print_stderr, reason = "cargo shows it with the failed test")]
            {
                eprintln!("--- timeline: {}", self.0.text());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::RngExt as _;

    use super::*;

    #[test]
    fn choices_depend_on_seed_and_actor_only() {
        let draw = |seed, actor: &str| Timeline::new(seed).choices(actor).random::<u64>();
        assert_eq!(draw(1, "killer"), draw(1, "killer"));
        assert_ne!(draw(1, "killer"), draw(2, "killer"));
        assert_ne!(draw(1, "killer"), draw(1, "changer"));
    }

    #[test]
    fn the_text_contains_the_seed_and_each_event_with_its_time() {
        let timeline = Timeline::new(7);
        timeline.note("worker 1 killed");
        let text = timeline.text();
        assert!(text.starts_with("seed 7, 1 entries\n"), "{text}");
        assert!(
            text.contains("0.00") && text.contains("worker 1 killed"),
            "{text}"
        );
    }
}
