//! The real servers: Kafka and the registry once for all scenarios, which keep
//! apart by topic prefix; a ClickHouse for each.
//!
//! It must not know our services.

use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::LazyLock,
    time::{Duration, Instant},
};

use crate::Process;

/// How long a server may take until it answers, on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(90);

/// A server and where it listens.
#[derive(Debug)]
pub struct Server {
    /// The process.
    pub process: Process,
    /// Its port on 127.0.0.1.
    pub port: u16,
}

/// What all scenarios share.
#[derive(Debug)]
pub struct Shared {
    /// Kafka.
    pub kafka: Server,
    /// The schema registry.
    pub registry: Server,
    /// Where their data and logs lie; removed at the end.
    pub folder: tempfile::TempDir,
}

impl Shared {
    /// The servers, started by the first scenario that asks.
    pub fn get() -> &'static Self {
        static SHARED: LazyLock<Shared> = LazyLock::new(|| {
            let folder = tempfile::tempdir().expect("a folder for the servers");
            let kafka = kafka(&folder.path().join("kafka"));
            let registry = registry(&folder.path().join("registry"));
            wait_for(&kafka);
            wait_for(&registry);
            Shared { kafka, registry, folder }
        });
        &SHARED
    }

    /// `host:port` of Kafka.
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.kafka.port)
    }

    /// Confluent-compatible address of the registry.
    pub fn registry_url(&self) -> String {
        format!("http://127.0.0.1:{}/apis/ccompat/v7", self.registry.port)
    }
}

/// The repository's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests' parent").to_owned()
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}

/// Starts a Kafka of its own.
pub fn kafka(data: &Path) -> Server {
    start("kafka", data, free_port(), &["--controller-port".to_owned(), free_port().to_string()])
}

/// Starts a schema registry of its own.
pub fn registry(data: &Path) -> Server {
    start("registry", data, free_port(), &[])
}

/// Starts a ClickHouse of its own, whose user `writer` has that password.
pub fn clickhouse(data: &Path, writer_password: &str) -> Server {
    start(
        "clickhouse",
        data,
        free_port(),
        &[
            "--tcp-port".to_owned(),
            free_port().to_string(),
            "--writer-password".to_owned(),
            writer_password.to_owned(),
        ],
    )
}

/// Starts a server on a port and data folder that it had before, or anew.
pub fn start(kind: &str, data: &Path, port: u16, more: &[String]) -> Server {
    std::fs::create_dir_all(data).expect("a data folder");
    let mut arguments = vec![
        format!("run-{kind}"),
        "--data".to_owned(),
        data.display().to_string(),
        "--port".to_owned(),
        port.to_string(),
    ];
    arguments.extend_from_slice(more);
    let process = Process::start(
        kind,
        &root().join("infra/native/stack"),
        &arguments,
        &[],
        &data.join("server.log"),
    );
    Server { process, port }
}

/// Waits until a server takes connections.
pub fn wait_for(server: &Server) {
    let began = Instant::now();
    let address = SocketAddr::from(([127, 0, 0, 1], server.port));
    while TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_err() {
        assert!(
            began.elapsed() < START_LIMIT,
            "no server on port {}:\n{}",
            server.port,
            server.process.output(),
        );
        std::thread::park_timeout(Duration::from_millis(50));
    }
}
