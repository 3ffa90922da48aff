//! The data of a whole system in one file: what one version of the services wrote,
//! for the next one to continue.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Command,
};

use hubspot_sim::Portal;
use serde_json::{Value, json};

use crate::{HANG_LIMIT, Stack, process::SHUTDOWN_LIMIT, servers::root};

/// Folder of the simulated portal, beside ClickHouse's.
pub(crate) const PORTAL: &str = "portal";

/// What of each server's data folder is packed. The rest is made at each start.
const KAFKA: &str = "kafka/log";
const REGISTRY: &str = "registry/registry.mv.db";
const CLICKHOUSE: &str = "clickhouse/store";
const RECORDED: &str = "recorded.json";

/// What is not packed: what servers write down about themselves, with names of
/// the machine, and what they make again at their start.
const LEFT_OUT: [&str; 3] = ["status", "preprocessed_configs", "*.tmp"];

/// The object types of a data set.
const OBJECT_TYPES: [&str; 2] = ["contacts", "companies"];

/// The packed data of a system.
#[derive(Debug)]
pub struct DataSet {
    archive: PathBuf,
    /// What the system answered at its end.
    pub recorded: Recorded,
}

/// What a system answered at its end.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// HubSpot's time after its end, in ms since 1970.
    pub stopped_at_ms: i64,
    /// Count and digest of the portal's objects, by type.
    pub truth: BTreeMap<String, String>,
    /// Answers of its API to GET requests, by path.
    pub answers: BTreeMap<String, Value>,
}

impl DataSet {
    /// The data that a version of the services wrote.
    pub fn of_version(version: &str) -> Self {
        let archive = root().join(format!("tests/data/former-{version}.tar.gz"));
        let text = tar(&["--to-stdout", "-xzf"], &archive, &[RECORDED.as_ref()]);
        let json = serde_json::from_slice(&text).expect("recorded answers are JSON");
        Self {
            archive,
            recorded: Recorded::from_json(&json),
        }
    }

    /// Puts ClickHouse's data and the portal into the folder of a system, and the
    /// data of Kafka and registry into a new one.
    pub(crate) fn restore(&self, folder: &Path) -> tempfile::TempDir {
        let servers = tempfile::tempdir().expect("a folder for the servers");
        for (folder, parts) in [
            (servers.path(), [KAFKA, REGISTRY]),
            (folder, [CLICKHOUSE, PORTAL]),
        ] {
            let [one, other] = parts.map(OsStr::new);
            let options = [OsStr::new("-C"), folder.as_os_str(), one, other];
            tar(&["--no-same-owner", "-xzf"], &self.archive, &options);
        }
        servers
    }

    /// Stops a [`packable`](crate::StackBuilder::packable) system and packs its data,
    /// with what its API answered before.
    pub async fn pack(mut stack: Stack, answers: BTreeMap<String, Value>, archive: &Path) {
        let merged_parts = merged_parts(&stack).await;
        for worker in &mut stack.workers {
            worker.terminate(SHUTDOWN_LIMIT);
        }
        for instance in &mut stack.instances {
            instance.process.terminate(SHUTDOWN_LIMIT);
        }
        let own = stack.own_servers();
        own.own_registry().process.end(HANG_LIMIT);
        own.own_kafka().process.end(HANG_LIMIT);
        stack.clickhouse.process.end(HANG_LIMIT);
        let portal = stack.simulator.portal();
        let recorded = Recorded {
            stopped_at_ms: portal.now_ms(),
            truth: Recorded::truth_of(&portal),
            answers,
        };
        let file = stack.folder().join(RECORDED);
        std::fs::write(&file, recorded.to_json().to_string()).expect("a file is written");
        let servers = stack.servers().kafka_folder();
        let servers = servers.parent().expect("the folder of the servers");
        let mut options: Vec<&OsStr> = Vec::new();
        let left_out = LEFT_OUT.map(str::to_owned).into_iter().chain(merged_parts);
        let left_out: Vec<_> = left_out.map(|it| format!("--exclude={it}")).collect();
        options.extend(left_out.iter().map(OsStr::new));
        options
            .extend(["--sort=name", "--owner=0", "--group=0", "--numeric-owner"].map(OsStr::new));
        options.extend([OsStr::new("-C"), servers.as_os_str()]);
        options.extend([KAFKA, REGISTRY].map(OsStr::new));
        options.extend([OsStr::new("-C"), stack.folder().as_os_str()]);
        options.extend([CLICKHOUSE, PORTAL, RECORDED].map(OsStr::new));
        tar(&["-czf"], archive, &options);
    }
}

impl Recorded {
    /// Count and digest of a portal's objects, by type.
    pub fn truth_of(portal: &Portal) -> BTreeMap<String, String> {
        let of = |name: &str| {
            let truth = portal.truth(name).expect("a type of the portal");
            format!("{} objects, digest {}", truth.objects.len(), truth.digest)
        };
        OBJECT_TYPES.map(|name| (name.to_owned(), of(name))).into()
    }

    fn to_json(&self) -> Value {
        json!({
            "stopped_at_ms": self.stopped_at_ms,
            "truth": self.truth,
            "answers": self.answers,
        })
    }

    fn from_json(json: &Value) -> Self {
        let map = |name: &str| json[name].as_object().expect("an object").clone();
        let text = |value: Value| value.as_str().expect("a text").to_owned();
        Self {
            stopped_at_ms: json["stopped_at_ms"].as_i64().expect("a time"),
            truth: map("truth")
                .into_iter()
                .map(|(name, it)| (name, text(it)))
                .collect(),
            answers: map("answers").into_iter().collect(),
        }
    }
}

/// The folders of ClickHouse's parts that it has merged into others and will remove
/// within minutes: table and part.
async fn merged_parts(stack: &Stack) -> Vec<String> {
    let sql = "SELECT concat(toString(tables.uuid), '/', parts.name) FROM system.parts \
               JOIN system.tables ON tables.database = parts.database AND tables.name = parts.table \
               WHERE NOT parts.active";
    let folders = stack.sql().query(sql).await;
    folders.lines().map(str::to_owned).collect()
}

/// Runs `tar` and returns its output.
fn tar(mode: &[&str], archive: &Path, options: &[&OsStr]) -> Vec<u8> {
    let mut command = Command::new("tar");
    command.args(mode).arg(archive).args(options);
    let output = command.output().expect("tar runs");
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}
