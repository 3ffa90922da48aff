//! How a system is started for one run.
//!
//! It must not know what is measured.

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

use super::{Servers, System};

/// The token of the simulated portal.
pub(crate) const TOKEN: &str = "pat-na1-benchmark";
const WRITER_PASSWORD: &str = "benchmark-writer";

/// How long a process of ours may take until it is ready.
const READY_LIMIT: Duration = Duration::from_mins(1);

type Variables = Vec<(String, String)>;

/// What a benchmark wants to be different.
#[derive(Debug)]
pub(crate) struct SystemBuilder {
    simulator: Variables,
    worker: Variables,
    data_streams: Variables,
}

impl SystemBuilder {
    /// A portal of that many contacts: no companies, no latency, no limit,
    /// and a worker that knows of no limit either.
    pub(crate) fn new(contacts: u32) -> Self {
        let builder = Self {
            simulator: Vec::new(),
            worker: Vec::new(),
            data_streams: Vec::new(),
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

    /// Sets a variable of the simulator; the last setting of a name counts.
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

    /// Starts everything and waits until all are ready.
    pub(crate) async fn start(self, servers: &Servers) -> anyhow::Result<System<'_>> {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("bench{}-{number}.", std::process::id());
        let folder = tempfile::tempdir()?;
        let clickhouse = clickhouse(folder.path().join("clickhouse")).await?;
        let (simulator, simulator_url) = self.start_simulator(folder.path()).await?;

        let admin = free_port();
        let mut variables = common(servers, &prefix);
        variables.push(("ADMIN_ADDRESS".to_owned(), format!("127.0.0.1:{admin}")));
        variables.push(("HUBSPOT_BASE_URL".to_owned(), simulator_url.clone()));
        variables.extend(self.worker);
        let worker = start("worker", &variables, folder.path())?;

        let port = free_port();
        let mut variables = common(servers, &prefix);
        variables.push(("API_ADDRESS".to_owned(), format!("127.0.0.1:{port}")));
        let url = format!("http://127.0.0.1:{}", clickhouse.port);
        variables.push(("CLICKHOUSE_URL".to_owned(), url));
        variables.push(("CLICKHOUSE_PASSWORD".to_owned(), WRITER_PASSWORD.to_owned()));
        variables.extend(self.data_streams);
        let data_streams = start("data-streams", &variables, folder.path())?;

        let api = Api::new(port);
        api.ready().await;
        ready(&format!("http://127.0.0.1:{admin}/health/ready"), &worker).await?;
        Ok(System {
            servers,
            simulator,
            simulator_url,
            sql: ClickHouse::new(clickhouse.port, "writer", WRITER_PASSWORD),
            clickhouse,
            worker,
            data_streams,
            api,
            prefix,
            _folder: folder,
        })
    }

    /// Starts the simulator alone.
    pub(crate) async fn start_simulator(&self, folder: &Path) -> anyhow::Result<(Process, String)> {
        let address = format!("127.0.0.1:{}", free_port());
        let mut variables = self.simulator.clone();
        variables.push(("HUBSPOT_SIM_LISTEN".to_owned(), address.clone()));
        let process = start("hubspot-sim", &variables, folder)?;
        let url = format!("http://{address}");
        // It listens once its portal is made; any answer will do.
        let began = Instant::now();
        while reqwest::get(&url).await.is_err() {
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

async fn clickhouse(data: PathBuf) -> anyhow::Result<Server> {
    let server = tokio::task::spawn_blocking(move || {
        let mut server = servers::clickhouse(&data, WRITER_PASSWORD);
        servers::wait_for(&mut server);
        server
    });
    server.await.context("ClickHouse does not start")
}

fn common(servers: &Servers, prefix: &str) -> Variables {
    vec![
        ("KAFKA_BOOTSTRAP".to_owned(), servers.bootstrap()),
        ("REGISTRY_URL".to_owned(), servers.registry_url()),
        ("TOPIC_PREFIX".to_owned(), prefix.to_owned()),
    ]
}

/// Starts a binary that was built beside this one.
fn start(name: &str, variables: &[(String, String)], folder: &Path) -> anyhow::Result<Process> {
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
        if reqwest::get(url)
            .await
            .is_ok_and(|it| it.status().is_success())
        {
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
