//! The system under measurement: servers for the whole suite, and for each run
//! a simulator, a ClickHouse and our two services, each a process of its own.
//!
//! It must not know what is measured.

mod build;

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use harness::{
    Api, ClickHouse, Process,
    servers::{Server, Shared},
};
use rdkafka::{
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
    config::ClientConfig,
    consumer::{BaseConsumer, Consumer as _},
};
use serde_json::Value;

pub(crate) use build::{SystemBuilder, TOKEN};

use crate::usage::{self, Usage};

/// Kafka and the registry, for all runs.
#[derive(Debug)]
pub(crate) struct Servers(Shared);

impl Servers {
    /// Starts both.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let started = tokio::task::spawn_blocking(Shared::start).await;
        started.map(Self).context("the servers do not start")
    }

    /// `host:port` of Kafka.
    pub(crate) fn bootstrap(&self) -> String {
        self.0.bootstrap()
    }

    /// Confluent-compatible address of the registry.
    pub(crate) fn registry_url(&self) -> String {
        self.0.registry_url()
    }

    /// Removes the topics of a run, which would fill the disk.
    async fn remove_topics(&self, prefix: &str) -> anyhow::Result<()> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.bootstrap());
        let listed: BaseConsumer = config.create()?;
        let limit = Duration::from_secs(10);
        let metadata =
            tokio::task::spawn_blocking(move || listed.fetch_metadata(None, limit)).await??;
        let names: Vec<&str> = metadata
            .topics()
            .iter()
            .map(rdkafka::metadata::MetadataTopic::name)
            .filter(|name| name.starts_with(prefix))
            .collect();
        let admin: AdminClient<DefaultClientContext> = config.create()?;
        admin.delete_topics(&names, &AdminOptions::new()).await?;
        Ok(())
    }
}

/// One running system.
#[derive(Debug)]
pub(crate) struct System<'a> {
    servers: &'a Servers,
    simulator: Process,
    /// The simulator's address.
    pub(crate) simulator_url: String,
    clickhouse: Server,
    worker: Process,
    data_streams: Process,
    /// A client of data-streams.
    pub(crate) api: Api,
    /// Queries as the service's user.
    pub(crate) sql: ClickHouse,
    /// What its topics begin with.
    pub(crate) prefix: String,
    // Last, so that the processes have ended when it is removed.
    _folder: tempfile::TempDir,
}

impl System<'_> {
    /// A system over a portal of that many contacts.
    pub(crate) fn of(contacts: u32) -> SystemBuilder {
        SystemBuilder::new(contacts)
    }

    /// Starts the default connection with settings.
    pub(crate) async fn begin(&self, settings: Value) -> anyhow::Result<()> {
        let path = "/v1/connections/default/start";
        let answer = self.api.send("POST", path, Some(settings)).await;
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

    async fn count_reaches(&self, sql: &str, rows: u32, until: Instant) -> anyhow::Result<()> {
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

    /// What each process has used.
    pub(crate) fn usages(&self) -> anyhow::Result<Usages> {
        let usages = self
            .processes()
            .map(|(name, pid)| Ok((name, usage::of(pid)?)));
        usages
            .into_iter()
            .collect::<anyhow::Result<_>>()
            .map(Usages)
    }

    /// Lets the peak of each process begin anew.
    pub(crate) fn forget_peaks(&self) -> anyhow::Result<()> {
        let mut processes = self.processes().into_iter();
        processes.try_for_each(|(_, pid)| usage::forget_peak(pid))
    }

    fn processes(&self) -> [(&'static str, u32); 6] {
        [
            (WORKER, self.worker.pid()),
            (DATA_STREAMS, self.data_streams.pid()),
            ("Kafka", self.servers.0.kafka.process.pid()),
            ("registry", self.servers.0.registry.process.pid()),
            ("ClickHouse", self.clickhouse.process.pid()),
            ("simulator", self.simulator.pid()),
        ]
    }

    /// Ends all and removes what it leaves behind.
    pub(crate) async fn end(mut self) -> anyhow::Result<()> {
        let limit = Duration::from_secs(20);
        self.worker.terminate(limit);
        self.data_streams.terminate(limit);
        self.servers.remove_topics(&self.prefix).await
    }
}

const WORKER: &str = "worker";
const DATA_STREAMS: &str = "data-streams";

/// What each process has used.
#[derive(Debug, Clone)]
pub(crate) struct Usages(Vec<(&'static str, Usage)>);

impl Usages {
    /// CPU since then; memory as it is.
    pub(crate) fn since(&self, before: &Self) -> Self {
        let pairs = self.0.iter().zip(&before.0);
        let since = pairs.map(|((name, now), (_, then))| {
            let cpu_seconds = now.cpu_seconds - then.cpu_seconds;
            (
                *name,
                Usage {
                    cpu_seconds,
                    ..*now
                },
            )
        });
        Self(since.collect())
    }

    /// The sum over our two processes.
    pub(crate) fn services(&self, part: impl Fn(&Usage) -> f64) -> f64 {
        let ours = self
            .0
            .iter()
            .filter(|it| [WORKER, DATA_STREAMS].contains(&it.0));
        ours.map(|(_, usage)| part(usage)).sum()
    }

    /// Each process.
    pub(crate) fn each(&self) -> impl Iterator<Item = &(&'static str, Usage)> {
        self.0.iter()
    }
}

fn count(answer: &str) -> u64 {
    answer.trim().parse().unwrap_or(0)
}
