//! One server: start, readiness, kill and restart.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig,
    consumer::{BaseConsumer, Consumer as _},
    metadata::Metadata,
};

use super::{ProxiedListeners, Secure, free_port, root};
use crate::{HANG_LIMIT, Process};

/// How long one request to Kafka may take before it is repeated.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);

/// The pause between two attempts.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// The option of a ClickHouse with the password of its user `writer`.
const WRITER_PASSWORD: &str = "--writer-password";

/// A server and the port it listens on.
#[derive(Debug)]
pub struct Server {
    /// The process.
    pub process: Process,
    /// Its port on 127.0.0.1.
    pub port: u16,
    kind: String,
    pub(super) data: PathBuf,
    more: Vec<String>,
}

impl Server {
    /// Sends SIGKILL and waits for the end.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Kills it where it runs and starts it again on the same port, with the
    /// same data. Does not wait until it is ready.
    pub fn restart(&mut self) {
        self.process.kill();
        *self = start(&self.kind, &self.data, self.port, &self.more);
    }

    /// Kills a ClickHouse and starts it again with another password of its user `writer`.
    pub fn change_writer_password(&mut self, password: &str) {
        let option = self.more.iter().position(|it| it == WRITER_PASSWORD);
        let option = option.expect("a ClickHouse");
        password.clone_into(&mut self.more[option + 1]);
        self.restart();
    }

    /// Folder of its data.
    pub fn folder(&self) -> &Path {
        &self.data
    }

    /// Whether it serves requests. An open port is not enough: a registry and a
    /// Kafka listen before they do. Blocks.
    fn is_ready(&self) -> bool {
        // Kafka's client would wait longer and longer for an open port.
        let address = SocketAddr::from(([127, 0, 0, 1], self.port));
        if TcpStream::connect_timeout(&address, REQUEST_LIMIT).is_err() {
            return false;
        }
        match self.kind.as_str() {
            "kafka" => {
                let mut config = ClientConfig::new();
                config.set("bootstrap.servers", format!("127.0.0.1:{}", self.port));
                metadata(&config, None).is_some_and(|cluster| !cluster.brokers().is_empty())
            }
            "registry" => http_ok(self.port, "/apis/ccompat/v7/subjects"),
            _ => http_ok(self.port, "/ping"),
        }
    }
}

/// Starts a Kafka, with further listeners: the port that each listens on, and
/// the port of the proxy that it advertises to its clients; and those where clients
/// have to prove who they are; and the source of a policy for new topics.
pub(super) fn kafka(
    data: &Path,
    proxied: &[ProxiedListeners],
    secure: Option<&Secure>,
    policy: Option<&Path>,
) -> Server {
    let pairs = proxied.iter().flatten();
    let mut listeners: Vec<_> = pairs
        .map(|(listens, advertised)| format!("{listens}:{advertised}:PLAINTEXT"))
        .collect();
    listeners.extend(secure.into_iter().flat_map(Secure::listeners));
    let mut options = vec![
        "--controller-port".to_owned(),
        free_port().to_string(),
        "--listeners".to_owned(),
        listeners.join(" "),
    ];
    if let Some(secure) = secure {
        options.extend(secure.options(data));
    }
    if let Some(policy) = policy {
        options.extend(["--policy".to_owned(), policy.display().to_string()]);
    }
    start("kafka", data, free_port(), &options)
}

/// Starts a schema registry.
pub fn registry(data: &Path) -> Server {
    start("registry", data, free_port(), &[])
}

/// Starts a ClickHouse whose users `writer` and `reader` have these passwords; `disk`
/// limits its disk to so many bytes.
pub fn clickhouse(data: &Path, passwords: [&str; 2], disk: Option<u64>) -> Server {
    let [writer, reader] = passwords;
    let mut options = vec![
        "--tcp-port".to_owned(),
        free_port().to_string(),
        WRITER_PASSWORD.to_owned(),
        writer.to_owned(),
        "--reader-password".to_owned(),
        reader.to_owned(),
    ];
    if let Some(bytes) = disk {
        options.extend(["--disk-size".to_owned(), bytes.to_string()]);
    }
    start("clickhouse", data, free_port(), &options)
}

/// Starts a server on a port with a data folder, which may be new.
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
    Server {
        process,
        port,
        kind: kind.to_owned(),
        data: data.to_owned(),
        more: more.to_vec(),
    }
}

/// Waits until a condition holds. Blocks.
pub fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(
            began.elapsed() < HANG_LIMIT,
            "not within {HANG_LIMIT:?}: {what}"
        );
        std::thread::park_timeout(RETRY_PAUSE);
    }
}

/// Waits until a server serves requests. Blocks.
pub fn wait_until_ready(server: &mut Server) {
    let began = Instant::now();
    while !server.is_ready() {
        assert!(
            server.process.is_running() && began.elapsed() < HANG_LIMIT,
            "{} on port {} is not ready:\n{}",
            server.kind,
            server.port,
            server.process.output(),
        );
        std::thread::park_timeout(RETRY_PAUSE);
    }
}

/// What Kafka says of its brokers and topics; `None` where it does not answer.
pub(super) fn metadata(config: &ClientConfig, topic: Option<&str>) -> Option<Metadata> {
    let client: BaseConsumer = config.create().expect("a client");
    client.fetch_metadata(topic, REQUEST_LIMIT).ok()
}

/// Whether a GET is answered with 200. Blocks.
fn http_ok(port: u16, path: &str) -> bool {
    let get = || -> std::io::Result<[u8; 12]> {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut stream = TcpStream::connect_timeout(&address, REQUEST_LIMIT)?;
        stream.set_read_timeout(Some(REQUEST_LIMIT))?;
        let head = "host: localhost\r\nconnection: close\r\n\r\n";
        stream.write_all(format!("GET {path} HTTP/1.1\r\n{head}").as_bytes())?;
        let mut status = [0; 12];
        stream.read_exact(&mut status)?;
        Ok(status)
    };
    get().is_ok_and(|status| status == *b"HTTP/1.1 200")
}
