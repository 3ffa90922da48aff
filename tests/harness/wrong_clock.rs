//! Shifts the clock of one process, by any time and at any moment.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// A shift of the clock, for the processes started with its variables.
#[derive(Debug)]
pub struct WrongClock {
    folder: tempfile::TempDir,
}

impl Default for WrongClock {
    fn default() -> Self {
        Self::new()
    }
}

impl WrongClock {
    /// A shift of zero. Compiles the library that applies it.
    pub fn new() -> Self {
        let clock = Self {
            folder: tempfile::tempdir().expect("a folder for the clock"),
        };
        clock.shift(0);
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("harness/shifted_clock.c");
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(clock.library())
            .arg(source)
            .status()
            .expect("a C compiler runs");
        assert!(compiled.success(), "the clock compiles");
        clock
    }

    /// Sets the shift, in ms.
    pub fn shift(&self, ms: i64) {
        // One write of fixed length: the process may read at any moment.
        let text = format!("{ms:<24}");
        std::fs::write(self.file(), text).expect("the shift is written");
    }

    /// The variables that a process must be started with.
    pub fn variables(&self) -> [(&'static str, String); 2] {
        [
            ("LD_PRELOAD", self.library().display().to_string()),
            ("CLOCK_SHIFT_FILE", self.file().display().to_string()),
        ]
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("shift")
    }

    fn library(&self) -> PathBuf {
        self.folder.path().join("clock.so")
    }
}

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::*;

    #[test]
    fn the_clock_is_wrong_for_the_process_alone() {
        let clock = WrongClock::new();
        let now = || {
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap()
                .as_secs()
        };
        let shifted = || -> u64 {
            let output = Command::new("date")
                .arg("+%s")
                .envs(clock.variables())
                .output()
                .unwrap();
            String::from_utf8(output.stdout)
                .unwrap()
                .trim()
                .parse()
                .unwrap()
        };
        for (shift_ms, lowest, highest) in [
            (0, 0, 0),
            (7_200_000, 7_200, 7_200),
            (-3_600_500, -3_601, -3_600),
        ] {
            clock.shift(shift_ms);
            let before = now().saturating_add_signed(lowest);
            let read = shifted();
            let after = now().saturating_add_signed(highest);
            // `date` cuts off what is below a second.
            assert!(
                (before..=after).contains(&read),
                "{before}, {read}, {after}"
            );
        }
    }
}
