//! The settings of data-streams: flags, and environment variables of the same
//! names.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use chassis::{duration, kafka::KafkaArgs, registry::RegistryArgs};
use secrecy::{ExposeSecret as _, SecretString};

/// REST API over the sync of `HubSpot` records, and their loader into
/// `ClickHouse`.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "data-streams", version)]
pub(crate) struct Config {
    /// Settings of every process.
    #[command(flatten)]
    pub(crate) process: chassis::Args,

    /// Where Kafka is.
    #[command(flatten)]
    pub(crate) kafka: KafkaArgs,

    /// Where the schema registry is.
    #[command(flatten)]
    pub(crate) registry: RegistryArgs,

    /// Address of the API. Any address but loopback needs a token.
    #[arg(long, env, default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    pub(crate) api_address: SocketAddr,

    /// If set, every request except health checks needs it, as
    /// `Authorization: Bearer`.
    #[arg(long, env, hide_env_values = true)]
    pub(crate) api_token: Option<SecretString>,

    /// Maximum number of requests at the same time. Others get 429.
    #[arg(long, env, default_value_t = 256)]
    pub(crate) api_max_requests: usize,

    /// Maximum number of record streams (NDJSON) at the same time. Others get
    /// 429.
    #[arg(long, env, default_value_t = 8)]
    pub(crate) api_max_streams: usize,

    /// How long a stop waits for the worker's acknowledgement, such as 10s or
    /// 500ms; a number alone is in seconds.
    #[arg(long, env, default_value = "10", value_name = "DURATION", value_parser = duration::or_seconds)]
    pub(crate) stop_wait: Duration,

    /// HTTP address of `ClickHouse`.
    #[arg(long, env, default_value = "http://127.0.0.1:8123")]
    pub(crate) clickhouse_url: String,

    /// User for loading and queries.
    #[arg(long, env, default_value = "writer")]
    pub(crate) clickhouse_user: String,

    /// Its password.
    #[arg(long, env, hide_env_values = true)]
    pub(crate) clickhouse_password: Option<SecretString>,

    /// Compression of traffic with `ClickHouse`: none, lz4 or auto. Auto is none
    /// for a loopback address, where compression costs more time than it saves.
    #[arg(long, env, default_value = "auto", value_enum)]
    pub(crate) clickhouse_compression: Compression,

    /// Maximum number of rows in a batch.
    #[arg(long, env, default_value_t = 10_000)]
    pub(crate) batch_rows: usize,

    /// Maximum number of bytes in a batch.
    #[arg(long, env, default_value_t = 16 * 1024 * 1024)]
    pub(crate) batch_bytes: usize,

    /// Age at which a batch is stored even if it is not full, and the minimum time
    /// between two that are not, such as 1s or 500ms; a number alone is in
    /// milliseconds.
    #[arg(long, env, default_value = "400", value_name = "DURATION", value_parser = duration::or_milliseconds)]
    pub(crate) batch_age: Duration,
}

/// Compression of traffic with `ClickHouse`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Compression {
    /// None for a loopback address, otherwise LZ4.
    Auto,
    /// Never.
    None,
    /// Always.
    Lz4,
}

/// Why the settings are refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ConfigError {
    /// Other machines can use the API without a token.
    #[error(
        "--api-address {0} can be reached from other machines: set API_TOKEN, or listen on \
         127.0.0.1"
    )]
    OpenWithoutToken(SocketAddr),
    /// An empty token.
    #[error("API_TOKEN is empty: unset it, or give a token")]
    EmptyToken,
    /// A limit of 0.
    #[error("{0} must be at least 1")]
    Zero(&'static str),
}

impl Config {
    /// Whether traffic with `ClickHouse` is compressed.
    pub(crate) fn compresses(&self) -> bool {
        match self.clickhouse_compression {
            Compression::None => false,
            Compression::Lz4 => true,
            Compression::Auto => {
                let url = self.clickhouse_url.parse::<axum::http::Uri>();
                !url.is_ok_and(|url| url.host().is_some_and(is_loopback))
            }
        }
    }

    /// Checks values and combinations.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        if self
            .api_token
            .as_ref()
            .is_some_and(|token| token.expose_secret().trim().is_empty())
        {
            return Err(ConfigError::EmptyToken);
        }
        if !self.api_address.ip().is_loopback() && self.api_token.is_none() {
            return Err(ConfigError::OpenWithoutToken(self.api_address));
        }
        let limits = [
            ("API_MAX_REQUESTS", self.api_max_requests),
            ("API_MAX_STREAMS", self.api_max_streams),
            ("BATCH_ROWS", self.batch_rows),
            ("BATCH_BYTES", self.batch_bytes),
        ];
        match limits.into_iter().find(|(_, limit)| *limit == 0) {
            Some((name, _)) => Err(ConfigError::Zero(name)),
            None => Ok(()),
        }
    }
}

/// Whether a host, without its port, is this machine: `localhost` or a loopback
/// address.
pub(crate) fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|it| it.is_loopback())
}

#[cfg(test)]
pub(crate) mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use super::*;

    /// Defaults, but for these arguments.
    pub(crate) fn parse(arguments: &[&str]) -> Config {
        Config::try_parse_from([&["data-streams"], arguments].concat()).unwrap()
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Config::command().debug_assert();
    }

    #[test]
    fn traffic_on_loopback_is_compressed_only_on_request() {
        for (url, compressed) in [
            ("http://127.0.0.1:8123", false),
            ("http://[::1]:8123/", false),
            ("http://localhost:8123", false),
            ("http://clickhouse:8123", true),
            ("https://10.0.0.7:8443", true),
        ] {
            let config = parse(&["--clickhouse-url", url]);
            assert_eq!(config.compresses(), compressed, "{url}");
        }
        assert!(parse(&["--clickhouse-compression", "lz4"]).compresses());
    }

    #[test]
    fn an_address_that_others_can_reach_needs_a_token() {
        let address = "0.0.0.0:8080";
        assert_eq!(
            parse(&["--api-address", address]).check(),
            Err(ConfigError::OpenWithoutToken(address.parse().unwrap()))
        );
        assert_eq!(
            parse(&["--api-address", address, "--api-token", "secret"]).check(),
            Ok(())
        );
        assert_eq!(parse(&["--api-address", "[::1]:8080"]).check(), Ok(()));
    }

    #[test]
    fn an_empty_token_is_refused() {
        assert_eq!(
            parse(&["--api-token", " "]).check(),
            Err(ConfigError::EmptyToken)
        );
    }

    #[test]
    fn a_token_is_not_printed() {
        let printed = format!("{:?}", parse(&["--api-token", "hush-hush"]));
        assert!(!printed.contains("hush-hush"), "{printed}");
    }
}
