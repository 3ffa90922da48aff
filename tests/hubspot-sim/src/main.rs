//! The simulator as a process: a demo portal for users without a token.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::Parser;
use hubspot_sim::{
    Config, CursorMode, LateRows, Limits, PortalConfig, Quirks, Rule, Simulator, TokenKind,
    one_or_many,
};

/// A HubSpot simulator.
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Address to listen on.
    #[arg(long, env = "HUBSPOT_SIM_LISTEN", default_value = "127.0.0.1:8089")]
    listen: SocketAddr,
    /// Contacts at the start.
    #[arg(long, env = "HUBSPOT_SIM_CONTACTS", default_value_t = 20_000)]
    contacts: u32,
    /// Companies at the start.
    #[arg(long, env = "HUBSPOT_SIM_COMPANIES", default_value_t = 2_000)]
    companies: u32,
    /// Random changes per second.
    #[arg(long, env = "HUBSPOT_SIM_CHANGES_PER_SECOND", default_value_t = 0.0)]
    changes_per_second: f64,
    /// Seed of the demo data.
    #[arg(long, env = "HUBSPOT_SIM_SEED", default_value_t = 1)]
    seed: u64,
    /// The token that it accepts.
    #[arg(
        long,
        env = "HUBSPOT_SIM_TOKEN",
        default_value = "demo-token",
        hide_env_values = true
    )]
    token: String,
    /// The kind of that token, which decides its limits: `private_app`, `service_key`
    /// or `oauth`.
    #[arg(long, env = "HUBSPOT_SIM_TOKEN_KIND", default_value = "private_app", value_parser = token_kind)]
    token_kind: TokenKind,
    /// Folder that keeps the portal over a restart; none by default.
    #[arg(long, env = "HUBSPOT_SIM_STATE_DIR", value_name = "FOLDER")]
    state_dir: Option<PathBuf>,
    /// HubSpot's id of the portal.
    #[arg(long, env = "HUBSPOT_SIM_PORTAL_ID", default_value_t = 4_711_001)]
    portal_id: u64,
    /// Number of contact properties.
    #[arg(long, env = "HUBSPOT_SIM_PROPERTIES", default_value_t = 49)]
    properties: u16,
    /// Average number of properties that are set on a contact.
    #[arg(long, env = "HUBSPOT_SIM_SET_PROPERTIES", default_value_t = 35)]
    set_properties: u16,
    /// How many objects of a type have values of their own; the others share
    /// them, so that millions fit into memory. 0 is no limit.
    #[arg(long, env = "HUBSPOT_SIM_DISTINCT", default_value_t = 0)]
    distinct: u32,
    /// Latency of each answer, in ms.
    #[arg(long, env = "HUBSPOT_SIM_LATENCY_MS", default_value_t = 0)]
    latency_ms: u64,
    /// General requests in any 10 s, or `off` for no limits of any kind.
    #[arg(long, env = "HUBSPOT_SIM_RATE_LIMIT", default_value = "190", value_parser = limit)]
    rate_limit: Limit,
    /// Searches per second, or `off`.
    #[arg(long, env = "HUBSPOT_SIM_SEARCH_LIMIT", default_value = "5", value_parser = limit)]
    search_limit: Limit,
    /// Time until search shows a change, in ms.
    #[arg(long, env = "HUBSPOT_SIM_INDEX_LAG_MS", default_value_t = 3_000)]
    index_lag_ms: i64,
    /// Objects that search shows even later: JSON as `late_rows` of the quirks.
    #[arg(long, env = "HUBSPOT_SIM_LATE_ROWS", value_name = "JSON", value_parser = late_rows)]
    late_rows: Option<Late>,
    /// Compress bodies for clients that accept it.
    #[arg(long, env = "HUBSPOT_SIM_GZIP")]
    gzip: bool,
    /// Make the list's cursor a token that no client can read.
    #[arg(long, env = "HUBSPOT_SIM_OPAQUE_CURSOR")]
    opaque_cursor: bool,
    /// Share of requests that get a random fault.
    #[arg(
        long,
        env = "HUBSPOT_SIM_RANDOM_FAULTS",
        value_name = "PERCENT",
        default_value_t = 0.0
    )]
    random_faults: f64,
    /// Scripted faults at the start: JSON as for `POST /__sim/faults`.
    #[arg(long, env = "HUBSPOT_SIM_FAULTS", value_name = "JSON", value_parser = faults)]
    faults: Option<Faults>,
    /// Render each object at the start, for benchmarks.
    #[arg(long, env = "HUBSPOT_SIM_PRERENDER")]
    prerender: bool,
    /// Least severe lines that are logged: error, warn, info, debug or trace.
    #[arg(long, env = "HUBSPOT_SIM_LOG_LEVEL", default_value = "info")]
    log_level: tracing::Level,
    /// Keep each request with its time, for `GET /__sim/requests/all`.
    #[arg(long, env = "HUBSPOT_SIM_KEEP_REQUESTS")]
    keep_requests: bool,
}

#[derive(Debug, Clone, Copy)]
struct Limit(Option<u32>);

fn token_kind(text: &str) -> Result<TokenKind, serde_json::Error> {
    serde_json::from_value(text.into())
}

fn limit(text: &str) -> Result<Limit, String> {
    if text == "off" {
        return Ok(Limit(None));
    }
    text.parse()
        .map(|it| Limit(Some(it)))
        .map_err(|_not_a_number| "a number or `off` is needed".to_owned())
}

#[derive(Debug, Clone)]
struct Late(Vec<LateRows>);

fn late_rows(text: &str) -> Result<Late, serde_json::Error> {
    one_or_many(text.as_bytes()).map(Late)
}

#[derive(Debug, Clone)]
struct Faults(Vec<Rule>);

fn faults(text: &str) -> Result<Faults, serde_json::Error> {
    one_or_many(text.as_bytes()).map(Faults)
}

impl Args {
    fn config(self) -> Config {
        let limits = Limits {
            general: self.rate_limit.0,
            search: self.search_limit.0,
            ..if self.rate_limit.0.is_some() {
                Limits::default()
            } else {
                Limits::off()
            }
        };
        let quirks = Quirks {
            index_lag_ms: self.index_lag_ms,
            late_rows: self.late_rows.map(|it| it.0).unwrap_or_default(),
            cursor: if self.opaque_cursor {
                CursorMode::Opaque
            } else {
                CursorMode::Id
            },
            ..Quirks::default()
        };
        let portal = PortalConfig {
            portal_id: self.portal_id,
            tokens: vec![self.token],
            token_kind: self.token_kind,
            contacts: self.contacts,
            companies: self.companies,
            seed: self.seed,
            properties: self.properties,
            set_properties: self.set_properties,
            distinct: self.distinct,
            changes_per_second: self.changes_per_second,
            state_dir: self.state_dir,
            prerender: self.prerender,
            limits,
            quirks,
            ..PortalConfig::default()
        };
        Config {
            listen: self.listen,
            portals: vec![portal],
            now_ms: None,
            latency_ms: self.latency_ms,
            gzip: self.gzip,
            random_faults_percent: self.random_faults,
            fault_seed: self.seed,
            faults: self.faults.map(|it| it.0).unwrap_or_default(),
            keep_requests: self.keep_requests,
        }
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    tracing_subscriber::fmt()
        .with_max_level(args.log_level)
        .with_writer(std::io::stderr)
        .init();
    let outcome = tokio::runtime::Runtime::new()
        .context("cannot start the runtime")
        .and_then(|runtime| runtime.block_on(run(args)));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "failed");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> anyhow::Result<()> {
    let address = args.listen;
    let simulator = Simulator::start(args.config())
        .await
        .with_context(|| format!("cannot start on {address}"))?;
    tracing::info!(address = %simulator.address(), "listening");
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    simulator.shutdown().await;
    tracing::info!("stopped");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(flags: &[&str]) -> Result<Config, clap::Error> {
        let name = std::iter::once(&"hubspot-sim");
        Args::try_parse_from(name.chain(flags)).map(Args::config)
    }

    #[test]
    fn faults_late_rows_and_the_kind_of_the_token_are_flags() {
        let config = parsed(&[
            "--faults",
            r#"[{"times":"always","fault":{"fault":"page_timeout","above":50}}]"#,
            "--late-rows",
            r#"{"percent":5,"ms":180000}"#,
            "--token-kind",
            "service_key",
        ])
        .unwrap();
        assert_eq!(config.faults.len(), 1);
        let portal = config.portals.first().unwrap();
        assert_eq!(portal.token_kind, TokenKind::ServiceKey);
        assert_eq!(portal.quirks.late_rows.first().unwrap().ms, 180_000);
        assert!(portal.quirks.cursor == CursorMode::Id);
    }

    #[test]
    fn an_unknown_fault_is_refused() {
        let refused = parsed(&["--faults", r#"{"fault":{"fault":"magic"}}"#]).unwrap_err();
        assert!(refused.to_string().contains("magic"), "{refused}");
    }
}
