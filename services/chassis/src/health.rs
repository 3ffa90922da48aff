//! Whether a process is alive and ready, and its metrics, over HTTP.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use axum::{Json, Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::json;
use tokio::net::TcpListener;

use crate::{Context, http};

/// Holds once a service has set all its other conditions. Before that, a process
/// without conditions would be reported as ready.
pub const START: &str = "start";

/// Conditions of a process by name. The process is ready when all of them hold.
#[derive(Clone)]
pub struct Health {
    conditions: Arc<Mutex<BTreeMap<&'static str, Result<(), String>>>>,
    metrics: Option<Exported>,
}

/// What `/metrics` shows.
#[derive(Clone)]
struct Exported {
    service: &'static str,
    recorded: PrometheusHandle,
    process: metrics_process::Collector,
    measure: Arc<OnceLock<Measure>>,
}

/// Takes measures.
type Measure = Box<dyn Fn(&mut Measures) + Send + Sync>;

/// A gauge or counter that is measured whenever the metrics are read.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
}

impl Measured {
    /// A value that rises and falls. The help says in one line, without backslashes, what
    /// it is.
    pub const fn gauge(name: &'static str, help: &'static str) -> Self {
        let kind = "gauge";
        Self { name, kind, help }
    }

    /// A value that only grows.
    pub const fn counter(name: &'static str, help: &'static str) -> Self {
        let kind = "counter";
        Self { name, kind, help }
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// What was measured, so that a series of what is gone is not shown any more.
#[derive(Debug)]
pub struct Measures {
    service: &'static str,
    /// By name.
    series: BTreeMap<&'static str, Series>,
}

/// The values of one metric.
#[derive(Debug)]
struct Series {
    measured: Measured,
    lines: Vec<String>,
}

impl Measures {
    /// No measures of `service` yet.
    pub fn new(service: &'static str) -> Self {
        Self {
            service,
            series: BTreeMap::new(),
        }
    }

    /// Adds a value. Values of labels are written as they are, so they must be without
    /// quotes, backslashes and line breaks.
    pub fn add(&mut self, measured: Measured, labels: &[(&str, &str)], value: f64) {
        let name = measured.name;
        let labels = labels
            .iter()
            .map(|(label, text)| format!("{label}=\"{text}\""));
        let labels = std::iter::once(format!("service=\"{}\"", self.service)).chain(labels);
        let labels = labels.collect::<Vec<_>>().join(",");
        let line = format!("{name}{{{labels}}} {value}");
        let lines = Vec::new();
        let series = self.series.entry(name);
        let series = series.or_insert(Series { measured, lines });
        series.lines.push(line);
    }

    /// All values in Prometheus' text format.
    pub fn text(&self) -> String {
        let text_of = |Series { measured, lines }: &Series| {
            let Measured { name, kind, help } = measured;
            let lines = lines.join("\n");
            format!("# HELP {name} {help}\n# TYPE {name} {kind}\n{lines}\n")
        };
        self.series.values().map(text_of).collect()
    }
}

impl Health {
    /// No conditions, so ready.
    pub fn new(service: &'static str, recorded: PrometheusHandle) -> Self {
        let process = metrics_process::Collector::default();
        process.describe();
        Self {
            conditions: Arc::default(),
            metrics: Some(Exported {
                service,
                recorded,
                process,
                measure: Arc::default(),
            }),
        }
    }

    /// Also takes these measures whenever the metrics are read; only the first call counts.
    pub fn also_measures(&self, measure: impl Fn(&mut Measures) + Send + Sync + 'static) {
        if let Some(exported) = &self.metrics {
            exported.measure.get_or_init(|| Box::new(measure));
        }
    }

    /// No metrics, for tests.
    pub fn without_metrics() -> Self {
        Self {
            conditions: Arc::default(),
            metrics: None,
        }
    }

    /// Sets a condition that holds.
    pub fn holds(&self, condition: &'static str) {
        self.set(condition, Ok(()));
    }

    /// Sets a condition that does not hold, with the reason.
    pub fn fails(&self, condition: &'static str, reason: impl Into<String>) {
        self.set(condition, Err(reason.into()));
    }

    /// The conditions that do not hold, with their reasons.
    pub fn failures(&self) -> Vec<(&'static str, String)> {
        let conditions = self
            .conditions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        conditions
            .iter()
            .filter_map(|(name, state)| Some((*name, state.as_ref().err()?.clone())))
            .collect()
    }

    fn set(&self, condition: &'static str, state: Result<(), String>) {
        let mut conditions = self
            .conditions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let before = conditions.insert(condition, state.clone());
        drop(conditions);
        match (before, state) {
            (Some(Ok(())) | None, Err(reason)) => {
                tracing::warn!(condition, reason, "not ready");
            }
            (Some(Err(_)), Ok(())) => tracing::info!(condition, "ready again"),
            _ => {}
        }
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Health")
            .field("conditions", &self.conditions)
            .finish_non_exhaustive()
    }
}

/// Serves `/health/live`, `/health/ready` and `/metrics`.
pub fn router(context: Context) -> Router {
    Router::new()
        .route(
            "/health/live",
            get(async || Json(json!({"status": "live"}))),
        )
        .route("/health/ready", get(ready))
        .route("/metrics", get(metrics))
        .with_state(context)
}

async fn ready(State(context): State<Context>) -> impl IntoResponse {
    readiness(&context, |_| true)
}

/// Serves at `path` whether a part of the process is ready: whether the conditions that
/// concern it hold, and the process is not shutting down.
pub fn part(context: Context, path: &str, concerns: fn(&str) -> bool) -> Router {
    let ready = async move |State(context): State<Context>| readiness(&context, concerns);
    Router::new().route(path, get(ready)).with_state(context)
}

fn readiness(context: &Context, concerns: fn(&str) -> bool) -> impl IntoResponse + use<> {
    let failures = context.health().failures().into_iter();
    let mut failures: BTreeMap<_, _> = failures.filter(|(name, _)| concerns(name)).collect();
    if context.draining().is_cancelled() {
        failures.insert("lifecycle", "shutting down".to_owned());
    }
    if failures.is_empty() {
        (StatusCode::OK, Json(json!({"status": "ready"})))
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            Json(json!({"status": "not_ready", "failures": failures})),
        )
    }
}

async fn metrics(State(context): State<Context>) -> impl IntoResponse {
    let text = context.health().metrics.as_ref().map(Exported::text);
    (
        [("content-type", "text/plain; version=0.0.4")],
        text.unwrap_or_default(),
    )
}

impl Exported {
    fn text(&self) -> String {
        self.process.collect();
        let mut measures = Measures::new(self.service);
        if let Some(measure) = self.measure.get() {
            measure(&mut measures);
        }
        self.recorded.render() + &measures.text()
    }
}

/// Serves the admin routes until the process drains.
pub(crate) async fn serve(context: Context, listener: TcpListener) -> anyhow::Result<()> {
    let draining = context.draining().clone();
    http::serve(listener, router(context), http::Limits::default(), draining).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures_are_grouped_by_name() {
        let mut measures = Measures::new("worker");
        let age = Measured::gauge("b_seconds", "How old it is.");
        let made = Measured::counter("a_total", "How many there are.");
        measures.add(age, &[("stream", "deals")], 1.5);
        measures.add(made, &[], 2.0);
        measures.add(age, &[("stream", "contacts")], 0.0);
        let expected = "# HELP a_total How many there are.\n\
                        # TYPE a_total counter\na_total{service=\"worker\"} 2\n\
                        # HELP b_seconds How old it is.\n\
                        # TYPE b_seconds gauge\n\
                        b_seconds{service=\"worker\",stream=\"deals\"} 1.5\n\
                        b_seconds{service=\"worker\",stream=\"contacts\"} 0\n";
        assert_eq!(measures.text(), expected);
    }
}
