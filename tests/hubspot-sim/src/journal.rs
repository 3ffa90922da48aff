//! The log of changes on disk, from which a portal is restored at a restart.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufRead as _, BufReader, Write as _},
    path::Path,
};

use serde::{Deserialize, Serialize};

use crate::change::Change;

/// The parameters of the demo data; a restart generates it again from these.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Origin {
    /// The latest time in the demo data, in ms since 1970.
    pub(crate) base_ms: i64,
    pub(crate) seed: u64,
    pub(crate) contacts: u32,
    pub(crate) companies: u32,
    pub(crate) properties: u16,
    pub(crate) set_properties: u16,
    pub(crate) archived_percent: f64,
    #[serde(default)]
    pub(crate) distinct: u32,
}

/// A change with its time, in ms since 1970.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) at: i64,
    pub(crate) change: Change,
}

/// The log, open for appending.
#[derive(Debug)]
pub(crate) struct Journal {
    file: File,
}

impl Journal {
    /// Opens the log in a folder, and reads the parameters of the demo data, which
    /// are `origin` for a new portal, and the changes since.
    pub(crate) fn open(folder: &Path, origin: Origin) -> io::Result<(Self, Origin, Vec<Entry>)> {
        std::fs::create_dir_all(folder)?;
        let (origin_path, log_path) = (folder.join("origin.json"), folder.join("changes.ndjson"));
        let origin = match std::fs::read(&origin_path) {
            Ok(bytes) => serde_json::from_slice(&bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let new = folder.join("origin.json.new");
                std::fs::write(&new, serde_json::to_vec_pretty(&origin)?)?;
                std::fs::rename(&new, &origin_path)?;
                origin
            }
            Err(error) => return Err(error),
        };
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .read(true)
            .open(&log_path)?;
        let (mut entries, mut whole) = (Vec::new(), 0_u64);
        let mut lines = BufReader::new(&file);
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line)? > 0 {
            // An incomplete line was never acknowledged.
            if line.last() != Some(&b'\n') {
                break;
            }
            entries.push(serde_json::from_slice(&line)?);
            whole += line.len() as u64;
            line.clear();
        }
        file.set_len(whole)?;
        file.flush()?;
        Ok((Self { file }, origin, entries))
    }

    /// Writes a change, before it is acknowledged.
    pub(crate) fn append(&mut self, at: i64, change: &Change) -> io::Result<()> {
        let mut line = serde_json::to_vec(&Entry {
            at,
            change: change.clone(),
        })?;
        line.push(b'\n');
        self.file.write_all(&line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incomplete_line_is_dropped_and_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let origin = Origin {
            base_ms: 5,
            seed: 1,
            contacts: 2,
            companies: 3,
            properties: 49,
            set_properties: 35,
            archived_percent: 1.0,
            distinct: 0,
        };
        let change = |id| Change::Archive {
            object_type: "contacts".to_owned(),
            id,
        };
        let open = |base_ms| {
            Journal::open(
                folder.path(),
                Origin {
                    base_ms,
                    ..origin.clone()
                },
            )
            .unwrap()
        };
        open(5).0.append(6, &change(1)).unwrap();
        let log = folder.path().join("changes.ndjson");
        let mut torn = std::fs::read(&log).unwrap();
        torn.extend_from_slice(b"{\"at\":7,\"chan");
        std::fs::write(&log, torn).unwrap();
        let (mut journal, first, entries) = open(99);
        assert_eq!((first, entries.len()), (origin.clone(), 1));
        journal.append(8, &change(2)).unwrap();
        let times: Vec<i64> = open(99).2.iter().map(|entry| entry.at).collect();
        assert_eq!(times, [6, 8]);
    }
}
