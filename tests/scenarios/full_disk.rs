//! ClickHouse's disk is full for a while.

use std::{
    fs::File,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use harness::{Stack, eventually};
use serde_json::json;

use crate::load::{self, Load};

/// A small file system in memory, gone at the end.
struct SmallDisk {
    folder: tempfile::TempDir,
}

impl SmallDisk {
    /// Needs the right to mount; the error says why it is not there.
    fn mount(size: &str) -> Result<Self, String> {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(folder.path())
            .output()
            .map_err(|error| error.to_string())?;
        if mounted.status.success() {
            Ok(Self { folder })
        } else {
            Err(String::from_utf8_lossy(&mounted.stderr).into_owned())
        }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Takes all the room that is left, and returns the file that does.
    fn fill(&self) -> PathBuf {
        let path = self.path().join("filler");
        let mut file = File::create(&path).unwrap();
        // Smaller and smaller pieces, as a full disk takes none of a large one.
        for size in [1 << 20, 4 << 10] {
            let piece = vec![1; size];
            while file.write_all(&piece).is_ok() {}
        }
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazy: what still holds a file of it lets go a moment later.
        let _gone = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_delays_loading_and_loses_nothing() {
    let disk = match SmallDisk::mount("512m") {
        Ok(disk) => disk,
        Err(why) => {
            eprintln!("not tried, as no small file system can be mounted here: {why}");
            return;
        }
    };
    let stack = Stack::with(600, 20)
        .clickhouse_in(&disk.path().join("clickhouse"))
        .start()
        .await;
    let mut load = Load::after_first_sync(&stack).await;
    let filler = disk.fill();
    load.change(&stack, "onto a full disk").await;
    load::ask(&stack, "contacts").await;
    let api = stack.api();
    let said = eventually("data-streams says so", Duration::from_mins(1), async || {
        let answer = api.try_send("GET", "/health/ready", None).await.ok()?;
        (answer.status == 503).then_some(answer.body.to_string())
    })
    .await;
    assert!(said.contains("clickhouse"), "{said}");
    let letters = api.get("/v1/dead-letters").await;
    assert_eq!(letters["results"], json!([]), "a full disk poisons no row");
    std::fs::remove_file(filler).unwrap();
    load::carried_out(&stack).await;
    stack.matches_truth("contacts").await;
    load::nothing_is_doubled(&stack).await;
    drop(stack);
}
