//! The system under measurement: Kafka and registry for the whole suite, and for
//! each run a simulator, a ClickHouse and our two services, each as a process.

mod build;
mod servers;
mod topic;

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use harness::{Api, ClickHouse, Process, exposition, servers::Server};
use serde_json::Value;

pub(crate) use build::{SystemBuilder, TOKEN};
pub(crate) use servers::Servers;
pub(crate) use topic::Ends;

use crate::usage::{self, DATA_STREAMS, SIMULATOR, Usages, WORKER};

/// Longest wait for an answer of the simulator.
const TIMEOUT: Duration = Duration::from_secs(30);

/// One running system.
#[derive(Debug)]
pub(crate) struct System<'a> {
    /// Kafka and the registry.
    pub(crate) servers: &'a Servers,
    /// `None` where the benchmark runs a simulator in this process.
    simulator: Option<Process>,
    /// The simulator's address.
    pub(crate) simulator_url: String,
    clickhouse: Server,
    worker: Process,
    worker_admin: String,
    worker_variables: build::Variables,
    data_streams: Option<Process>,
    data_streams_variables: build::Variables,
    /// Number of ClickHouse folders so far.
    warehouses: u32,
    /// A client of data-streams.
    pub(crate) api: Api,
    /// A client of ClickHouse as the user of data-streams.
    pub(crate) sql: ClickHouse,
    /// Prefix of its topics.
    pub(crate) prefix: String,
    // Last, so that it is removed after the processes have ended.
    folder: tempfile::TempDir,
}

/// The counter of records that the worker has committed.
const COMMITTED: &str = "worker_records_total";

/// The answer to a request. A client of `reqwest`'s own would read the system's certificates
/// each time, on the cores that are measured.
pub(crate) async fn get(url: &str) -> reqwest::Result<reqwest::Response> {
    harness::api::client().get(url).send().await
}

/// The sum of a metric over all labels.
async fn metric(server: &str, name: &str) -> anyhow::Result<f64> {
    let text = get(&format!("{server}/metrics")).await?;
    let text = text.error_for_status()?.text().await?;
    let of_name = exposition::samples(&text).filter(|it| it.0 == name);
    Ok(of_name.map(|it| it.2).sum())
}

impl System<'_> {
    /// Configures a system over a portal with that many contacts.
    pub(crate) fn of(contacts: u32) -> SystemBuilder {
        SystemBuilder::new(contacts)
    }

    /// Starts the default connection with settings.
    pub(crate) async fn start_default(&self, settings: Value) -> anyhow::Result<()> {
        self.start_connection("default", settings).await
    }

    /// Starts a connection with settings.
    pub(crate) async fn start_connection(&self, name: &str, settings: Value) -> anyhow::Result<()> {
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

    /// Waits until people can see that many objects of a type.
    pub(crate) async fn until_visible(
        &self,
        object_type: &str,
        objects: u32,
        limit: Duration,
    ) -> anyhow::Result<()> {
        // The first count is read from metadata, so it costs nothing while rows
        // arrive; it may count an object twice.
        let stored = format!("SELECT count() FROM hubspot_raw.{object_type}");
        let visible = format!("SELECT count() FROM hubspot.{object_type}_all");
        let until = Instant::now() + limit;
        self.count_reaches(&stored, objects, until).await?;
        self.count_reaches(&visible, objects, until).await
    }

    /// Waits until the history has each object.
    pub(crate) async fn until_in_history(
        &self,
        object_type: &str,
        objects: u32,
    ) -> anyhow::Result<()> {
        let sql = format!(
            "SELECT uniqExact(object_id) FROM hubspot_raw.changes \
             WHERE object_type = '{object_type}'"
        );
        let until = Instant::now() + Duration::from_secs(10);
        self.count_reaches(&sql, objects, until).await
    }

    /// Waits until a query returns at least that number.
    pub(crate) async fn count_reaches(
        &self,
        sql: &str,
        rows: u32,
        until: Instant,
    ) -> anyhow::Result<()> {
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        loop {
            ticks.tick().await;
            // Fails until the table exists.
            let found = self.sql.try_query(sql).await;
            if found.as_ref().is_ok_and(|it| count(it) >= u64::from(rows)) {
                return Ok(());
            }
            if Instant::now() > until {
                bail!("{sql}: expected {rows}, the last answer was {found:?}");
            }
        }
    }

    /// The request log of the simulator.
    pub(crate) async fn requests(&self) -> anyhow::Result<Vec<Value>> {
        let url = format!("{}/__sim/requests/all", self.simulator_url);
        let answer: Value = get(&url).await?.error_for_status()?.json().await?;
        let requests = answer.as_array().cloned();
        requests.context("the simulator's request log is not a list")
    }

    /// ClickHouse's answer to a query.
    pub(crate) async fn query(&self, sql: &str) -> anyhow::Result<String> {
        let answer = self.sql.try_query(sql).await;
        answer
            .map_err(anyhow::Error::msg)
            .with_context(|| sql.to_owned())
    }

    /// A metric of the worker, of all labels; 0 if it does not exist yet.
    pub(crate) async fn worker_metric(&self, name: &str) -> anyhow::Result<f64> {
        metric(&self.worker_admin, name).await
    }

    /// The same of data-streams.
    pub(crate) async fn data_streams_metric(&self, name: &str) -> anyhow::Result<f64> {
        metric(self.api.url(), name).await
    }

    /// Waits until the worker has committed that many records.
    pub(crate) async fn until_committed(
        &self,
        records: u32,
        limit: Duration,
    ) -> anyhow::Result<()> {
        let began = Instant::now();
        while self.worker_metric(COMMITTED).await? < f64::from(records) {
            ensure!(
                began.elapsed() < limit,
                "the worker has not committed all records"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Starts the worker again, with additional variables, after it has ended. Returns
    /// at its start.
    pub(crate) fn restart_worker(&mut self, more: &[(&str, &str)]) -> anyhow::Result<Instant> {
        self.worker.terminate(END_LIMIT);
        let mut variables = self.worker_variables.clone();
        let more = more.iter();
        variables.extend(more.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let began = Instant::now();
        self.worker = build::start(WORKER, &variables, self.folder.path())?;
        Ok(began)
    }

    /// What the worker has logged, in all its lives.
    pub(crate) fn worker_log(&self) -> String {
        self.worker.output()
    }

    /// A request to the control interface of the simulator.
    pub(crate) async fn control_simulator(&self, path: &str, body: Value) -> anyhow::Result<()> {
        let url = format!("{}/__sim/{path}", self.simulator_url);
        let http = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .gzip(false)
            .build()?;
        let answer = http.post(url).json(&body).send().await?;
        answer.error_for_status()?;
        Ok(())
    }

    /// The number of requests to HubSpot so far.
    pub(crate) async fn request_count(&self) -> anyhow::Result<u64> {
        let url = format!("{}/__sim/requests", self.simulator_url);
        let answer: Value = get(&url).await?.error_for_status()?.json().await?;
        let total = answer.get("total").and_then(Value::as_u64);
        total.context("the simulator does not count requests")
    }

    /// The runs of the default connection that have succeeded for that reason, newest
    /// first.
    pub(crate) async fn succeeded(&self, reason: &str) -> anyhow::Result<Vec<Value>> {
        let path = "/v1/connections/default/runs";
        let answer = self.api.try_send("GET", path, None).await?;
        let runs = answer.body.get("results").and_then(Value::as_array);
        let runs = runs.context("no list of runs")?.iter();
        let found = runs.filter(|it| it["reason"] == reason && it["outcome"] == "succeeded");
        Ok(found.cloned().collect())
    }

    /// Waits until a run has succeeded for that reason, beside `known` ones.
    pub(crate) async fn until_succeeded(
        &self,
        reason: &str,
        known: &[Value],
        limit: Duration,
    ) -> anyhow::Result<Value> {
        let until = Instant::now() + limit;
        let mut ticks = tokio::time::interval(Duration::from_millis(100));
        loop {
            ticks.tick().await;
            let runs = self.succeeded(reason).await?;
            let is_new = |run: &&Value| known.iter().all(|it| it["run_id"] != run["run_id"]);
            if let Some(run) = runs.iter().find(is_new) {
                return Ok(run.clone());
            }
            ensure!(Instant::now() < until, "no {reason} run has succeeded");
        }
    }

    /// Terminates data-streams.
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

    /// Replaces ClickHouse by an empty one and deletes the consumer group: the next
    /// data-streams loads the log from its beginning.
    pub(crate) async fn empty_warehouse(&mut self) -> anyhow::Result<()> {
        self.stop_data_streams();
        let group = format!("{}warehouse", self.prefix);
        self.servers.delete_group(&group).await?;
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

    /// The usage of each process.
    pub(crate) fn usages(&self) -> anyhow::Result<Usages> {
        Usages::of(&self.processes())
    }

    /// Resets the peak memory of each process.
    pub(crate) fn reset_peaks(&self) -> anyhow::Result<()> {
        let processes = self.processes();
        processes
            .iter()
            .try_for_each(|(_, pid)| usage::reset_peak(*pid))
    }

    fn processes(&self) -> Vec<(&'static str, u32)> {
        let mut processes = vec![(WORKER, self.worker.pid())];
        processes.extend(self.data_streams.iter().map(|it| (DATA_STREAMS, it.pid())));
        processes.extend(self.servers.processes());
        processes.push(("ClickHouse", self.clickhouse.process.pid()));
        processes.extend(self.simulator.iter().map(|it| (SIMULATOR, it.pid())));
        processes
    }

    /// Ends all processes and removes the topics.
    pub(crate) async fn end(mut self) -> anyhow::Result<()> {
        self.worker.terminate(END_LIMIT);
        self.stop_data_streams();
        self.servers.remove_topics(&self.prefix).await
    }
}

/// How long a process may take to end.
const END_LIMIT: Duration = Duration::from_secs(20);

fn count(answer: &str) -> u64 {
    answer.trim().parse().unwrap_or(0)
}
