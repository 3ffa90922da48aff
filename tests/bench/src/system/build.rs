//! Starts a system for one run.

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use harness::{
    Api, ClickHouse, Process,
    servers::{self, Server, free_port},
};

use super::{Servers, System, get};
use crate::usage::{DATA_STREAMS, WORKER};

/// The token of the simulated portal.
pub(crate) const TOKEN: &str = "pat-na1-benchmark";
const WRITER_PASSWORD: &str = "benchmark-writer";

/// How long a process may take until it is ready.
const READY_LIMIT: Duration = Duration::from_mins(1);

/// Variables of a process.
pub(super) type Variables = Vec<(String, String)>;

/// The configuration of a system.
#[derive(Debug)]
pub(crate) struct SystemBuilder {
    simulator: Variables,
    worker: Variables,
    data_streams: Variables,
    /// A simulator that runs already.
    simulator_url: Option<String>,
}

impl SystemBuilder {
    /// A portal with that many contacts, without companies, latency and limits; the
    /// worker has no limits either.
    pub(crate) fn new(contacts: u32) -> Self {
        let builder = Self {
            simulator: Vec::new(),
            worker: Vec::new(),
            data_streams: Vec::new(),
            simulator_url: None,
        };
        builder
            .simulator("HUBSPOT_SIM_CONTACTS", &contacts.to_string())
            .simulator("HUBSPOT_SIM_COMPANIES", "0")
            .simulator("HUBSPOT_SIM_PRERENDER", "true")
            .simulator("HUBSPOT_SIM_RATE_LIMIT", "off")
            .simulator("HUBSPOT_SIM_SEARCH_LIMIT", "off")
            .simulator("HUBSPOT_SIM_TOKEN", TOKEN)
            .worker("HUBSPOT_ACCESS_TOKEN", TOKEN)
            .worker("HUBSPOT_RATE_LIMIT", "off")
            .worker("HUBSPOT_SEARCH_LIMIT", "off")
    }

    /// Sets a variable of the simulator. The last value of a name wins.
    #[must_use]
    pub(crate) fn simulator(mut self, name: &str, value: &str) -> Self {
        self.simulator.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets a variable of the worker.
    #[must_use]
    pub(crate) fn worker(mut self, name: &str, value: &str) -> Self {
        self.worker.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets a variable of data-streams.
    #[must_use]
    pub(crate) fn data_streams(mut self, name: &str, value: &str) -> Self {
        self.data_streams.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Uses a simulator that runs already.
    #[must_use]
    pub(crate) fn against(mut self, simulator_url: String) -> Self {
        self.simulator_url = Some(simulator_url);
        self
    }

    /// Starts everything and waits until all are ready.
    pub(crate) async fn start(self, servers: &Servers) -> anyhow::Result<System<'_>> {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("bench{}-{number}.", std::process::id());
        let folder = tempfile::tempdir()?;
        let clickhouse = clickhouse(folder.path().join("clickhouse")).await?;
        let (simulator, simulator_url) = if let Some(url) = &self.simulator_url {
            (None, url.clone())
        } else {
            let (process, url) = self.start_simulator(folder.path()).await?;
            (Some(process), url)
        };

        let admin = free_port();
        let mut variables = common(servers, &prefix);
        variables.push(("ADMIN_ADDRESS".to_owned(), format!("127.0.0.1:{admin}")));
        variables.push(("HUBSPOT_BASE_URL".to_owned(), simulator_url.clone()));
        variables.extend(self.worker);
        let worker_variables = variables.clone();
        let worker = start(WORKER, &variables, folder.path())?;

        let port = free_port();
        let mut variables = common(servers, &prefix);
        variables.push(("API_ADDRESS".to_owned(), format!("127.0.0.1:{port}")));
        variables.push(("CLICKHOUSE_PASSWORD".to_owned(), WRITER_PASSWORD.to_owned()));
        variables.extend(self.data_streams);
        set_clickhouse(&mut variables, &clickhouse);
        let data_streams = start(DATA_STREAMS, &variables, folder.path())?;

        let api = Api::new(port);
        api.ready().await;
        let worker_admin = format!("http://127.0.0.1:{admin}");
        ready(&format!("{worker_admin}/health/ready"), &worker).await?;
        Ok(System {
            servers,
            simulator,
            simulator_url,
            sql: writer(&clickhouse),
            clickhouse,
            worker,
            worker_admin,
            worker_variables,
            data_streams: Some(data_streams),
            data_streams_variables: variables,
            warehouses: 1,
            api,
            prefix,
            folder,
        })
    }

    /// Starts the simulator alone.
    pub(crate) async fn start_simulator(&self, folder: &Path) -> anyhow::Result<(Process, String)> {
        let address = format!("127.0.0.1:{}", free_port());
        let mut variables = self.simulator.clone();
        variables.push(("HUBSPOT_SIM_LISTEN".to_owned(), address.clone()));
        let process = start("hubspot-sim", &variables, folder)?;
        let url = format!("http://{address}");
        // It listens once its portal is made; any answer shows that.
        let began = Instant::now();
        while get(&url).await.is_err() {
            let output = process.output();
            ensure!(
                began.elapsed() < READY_LIMIT,
                "the simulator is not ready: {output}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok((process, url))
    }
}

/// A client of ClickHouse as the user of data-streams.
pub(super) fn writer(clickhouse: &Server) -> ClickHouse {
    ClickHouse::new(clickhouse.port, "writer", WRITER_PASSWORD)
}

/// Sets the address of ClickHouse for data-streams.
pub(super) fn set_clickhouse(variables: &mut Variables, clickhouse: &Server) {
    let name = "CLICKHOUSE_URL";
    variables.retain(|it| it.0 != name);
    let url = format!("http://127.0.0.1:{}", clickhouse.port);
    variables.push((name.to_owned(), url));
}

/// Starts a ClickHouse and waits until it is ready.
pub(super) async fn clickhouse(data: PathBuf) -> anyhow::Result<Server> {
    let server = tokio::task::spawn_blocking(move || {
        let mut server = servers::clickhouse(&data, [WRITER_PASSWORD, "bench-reader"], None);
        servers::wait_until_ready(&mut server);
        server
    });
    server.await.context("ClickHouse does not start")
}

fn common(servers: &Servers, prefix: &str) -> Variables {
    vec![
        ("KAFKA_BOOTSTRAP".to_owned(), servers.bootstrap()),
        ("REGISTRY_URL".to_owned(), servers.registry_url()),
        ("TOPIC_PREFIX".to_owned(), prefix.to_owned()),
        // What the worker logs is measured.
        ("LOG_FORMAT".to_owned(), "text".to_owned()),
    ]
}

/// Starts a binary from the folder of this one.
pub(super) fn start(
    name: &str,
    variables: &[(String, String)],
    folder: &Path,
) -> anyhow::Result<Process> {
    let own = std::env::current_exe()?;
    let program = own.with_file_name(name);
    ensure!(
        program.exists(),
        "{} is not built: see `make bench`",
        program.display()
    );
    let log = folder.join(format!("{name}.log"));
    Ok(Process::start(name, &program, &[], variables, &log))
}

async fn ready(url: &str, process: &Process) -> anyhow::Result<()> {
    let began = Instant::now();
    loop {
        if get(url).await.is_ok_and(|it| it.status().is_success()) {
            return Ok(());
        }
        ensure!(
            began.elapsed() < READY_LIMIT,
            "not ready: {}",
            process.output()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
