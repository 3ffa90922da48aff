//! The system under measurement: servers for the whole suite, and for each run
//! a simulator, a ClickHouse and our two services, each a process of its own.

mod build;
mod servers;

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use harness::{Api, ClickHouse, Process, servers::Server};
use serde_json::Value;

pub(crate) use build::{SystemBuilder, TOKEN};
pub(crate) use servers::Servers;

use crate::usage::{self, DATA_STREAMS, Usages, WORKER};

/// One running system.
#[derive(Debug)]
pub(crate) struct System<'a> {
    /// Kafka and the registry.
    pub(crate) servers: &'a Servers,
    /// None where the benchmark has one of its own.
    simulator: Option<Process>,
    /// The simulator's address.
    pub(crate) simulator_url: String,
    clickhouse: Server,
    worker: Process,
    worker_admin: String,
    data_streams: Option<Process>,
    data_streams_variables: build::Variables,
    /// Warehouses so far.
    warehouses: u32,
    /// A client of data-streams.
    pub(crate) api: Api,
    /// Queries as the service's user.
    pub(crate) sql: ClickHouse,
    /// What its topics begin with.
    pub(crate) prefix: String,
    // Last, so that the processes have ended when it is removed.
    folder: tempfile::TempDir,
}

impl System<'_> {
    /// A system over a portal of that many contacts.
    pub(crate) fn of(contacts: u32) -> SystemBuilder {
        SystemBuilder::new(contacts)
    }

    /// Starts the default connection with settings.
    pub(crate) async fn begin(&self, settings: Value) -> anyhow::Result<()> {
        self.begin_as("default", settings).await
    }

    /// Starts a connection with settings.
    pub(crate) async fn begin_as(&self, name: &str, settings: Value) -> anyhow::Result<()> {
        let path = format!("/v1/connections/{name}/start");
        let answer = self.api.send("POST", &path, Some(settings)).await;
        ensure!(
            answer.status < 300,
            "start: {} {}",
            answer.status,
            answer.body
        );
        Ok(())
    }

    /// Waits until that many objects of a type are there for people to see.
    pub(crate) async fn visible(
        &self,
        object_type: &str,
        objects: u32,
        limit: Duration,
    ) -> anyhow::Result<()> {
        // The first count comes from the heads of the parts, so that asking
        // costs nothing while rows arrive; it may count an object twice.
        let stored = format!("SELECT count() FROM hubspot_raw.{object_type}");
        let visible = format!("SELECT count() FROM hubspot.{object_type}_all");
        let until = Instant::now() + limit;
        self.count_reaches(&stored, objects, until).await?;
        self.count_reaches(&visible, objects, until).await
    }

    /// Waits until history has each object.
    pub(crate) async fn kept(&self, object_type: &str, objects: u32) -> anyhow::Result<()> {
        let sql = format!(
            "SELECT uniqExact(object_id) FROM hubspot_raw.changes \
             WHERE object_type = '{object_type}'"
        );
        let until = Instant::now() + Duration::from_secs(10);
        self.count_reaches(&sql, objects, until).await
    }

    /// Waits until a count is that high.
    pub(crate) async fn count_reaches(
        &self,
        sql: &str,
        rows: u32,
        until: Instant,
    ) -> anyhow::Result<()> {
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        loop {
            ticks.tick().await;
            // The table is not there at first.
            let found = self.sql.try_query(sql).await;
            if found.as_ref().is_ok_and(|it| count(it) >= u64::from(rows)) {
                return Ok(());
            }
            if Instant::now() > until {
                bail!("{sql}: {rows} are expected, the last answer was {found:?}");
            }
        }
    }

    /// The requests that the simulator has kept.
    pub(crate) async fn requests(&self) -> anyhow::Result<Vec<Value>> {
        let url = format!("{}/__sim/requests/all", self.simulator_url);
        let answer: Value = reqwest::get(url).await?.error_for_status()?.json().await?;
        let requests = answer.as_array().cloned();
        requests.context("the simulator's log is no list")
    }

    /// The first value of ClickHouse's answer to a query.
    pub(crate) async fn query(&self, sql: &str) -> anyhow::Result<String> {
        let answer = self.sql.try_query(sql).await;
        answer
            .map_err(anyhow::Error::msg)
            .with_context(|| sql.to_owned())
    }

    /// A number that the worker shows among its metrics; zero where it does
    /// not show it yet.
    pub(crate) async fn worker_metric(&self, name: &str) -> anyhow::Result<f64> {
        let text = reqwest::get(format!("{}/metrics", self.worker_admin)).await?;
        let text = text.error_for_status()?.text().await?;
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        // Labels may stand between name and number.
        let number = line.and_then(|it| it.rsplit(' ').next()?.parse().ok());
        Ok(number.unwrap_or(0.0))
    }

    /// Ends data-streams, as a signal does.
    pub(crate) fn stop_data_streams(&mut self) {
        if let Some(mut process) = self.data_streams.take() {
            process.terminate(END_LIMIT);
        }
    }

    /// Starts data-streams again and waits until it is ready.
    pub(crate) async fn start_data_streams(&mut self) -> anyhow::Result<()> {
        let (variables, folder) = (&self.data_streams_variables, self.folder.path());
        self.data_streams = Some(build::start(DATA_STREAMS, variables, folder)?);
        self.api.ready().await;
        Ok(())
    }

    /// Replaces ClickHouse by an empty one, and lets the loader's group begin
    /// anew: the next data-streams loads the log from its start.
    pub(crate) async fn empty_warehouse(&mut self) -> anyhow::Result<()> {
        self.stop_data_streams();
        let group = format!("{}warehouse", self.prefix);
        self.servers.forget_group(&group).await?;
        self.clickhouse.process.kill();
        self.warehouses += 1;
        let data = format!("clickhouse-{}", self.warehouses);
        self.clickhouse = build::clickhouse(self.folder.path().join(data)).await?;
        self.sql = build::writer(&self.clickhouse);
        build::set_clickhouse(&mut self.data_streams_variables, &self.clickhouse);
        Ok(())
    }

    /// Process id of the worker.
    pub(crate) fn worker_pid(&self) -> u32 {
        self.worker.pid()
    }

    /// What each process has used.
    pub(crate) fn usages(&self) -> anyhow::Result<Usages> {
        Usages::of(&self.processes())
    }

    /// Lets the peak of each process begin anew.
    pub(crate) fn forget_peaks(&self) -> anyhow::Result<()> {
        let processes = self.processes();
        processes
            .iter()
            .try_for_each(|(_, pid)| usage::forget_peak(*pid))
    }

    fn processes(&self) -> Vec<(&'static str, u32)> {
        let mut processes = vec![(WORKER, self.worker.pid())];
        processes.extend(self.data_streams.iter().map(|it| (DATA_STREAMS, it.pid())));
        processes.extend(self.servers.processes());
        processes.push(("ClickHouse", self.clickhouse.process.pid()));
        processes.extend(self.simulator.iter().map(|it| ("simulator", it.pid())));
        processes
    }

    /// Ends all and removes what it leaves behind.
    pub(crate) async fn end(mut self) -> anyhow::Result<()> {
        self.worker.terminate(END_LIMIT);
        self.stop_data_streams();
        self.servers.remove_topics(&self.prefix).await
    }
}

/// How long a process may take to its end.
const END_LIMIT: Duration = Duration::from_secs(20);

fn count(answer: &str) -> u64 {
    answer.trim().parse().unwrap_or(0)
}
