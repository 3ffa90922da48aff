//! A time of day that is wrong, and jumps, for one process.
//!
//! It must not know which process.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// A clock that can be moved.
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
    /// A clock that is right. Compiles the library that makes it wrong.
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

    /// Makes it wrong by so many ms from now on.
    pub fn shift(&self, ms: i64) {
        // One write, as the process reads it at any moment.
        let text = format!("{ms:<24}");
        std::fs::write(self.file(), text).expect("the clock is moved");
    }

    /// What a process has to be started with to go by it.
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
    fn a_process_goes_by_the_clock_and_others_do_not() {
        let clock = WrongClock::new();
        let now = || {
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap()
                .as_secs()
        };
        let told = || -> u64 {
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
        assert!(told().abs_diff(now()) <= 1);
        clock.shift(7_200_000);
        assert!(told().abs_diff(now() + 7_200) <= 1);
        clock.shift(-3_600_500);
        assert!(told().abs_diff(now() - 3_600) <= 2);
    }
}
