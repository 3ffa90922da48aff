//! The settings of data-streams: flags, and environment variables of the same
//! names.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use chassis::{
    duration,
    kafka::KafkaArgs,
    registry::{Registry, RegistryArgs},
    secret::{Rule, Secret, SecretError},
    tls::{self, TlsConnector, TlsError},
    values,
};
use secrecy::{ExposeSecret as _, SecretString};

/// The least length of a token of the API. Such a token cannot be guessed, where it is
/// random.
const TOKEN_LENGTH: usize = 16;

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
    /// `Authorization: Bearer`. At least 16 characters.
    #[arg(long, env, hide_env_values = true)]
    pub(crate) api_token: Option<SecretString>,

    /// A file with that token, which is read again when it is replaced.
    #[arg(long, env, value_name = "FILE")]
    pub(crate) api_token_file: Option<PathBuf>,

    /// Another token, which may only read: GET, HEAD and questions in SQL. At least 16
    /// characters.
    #[arg(long, env, hide_env_values = true)]
    pub(crate) api_read_token: Option<SecretString>,

    /// A file with that token, which is read again when it is replaced.
    #[arg(long, env, value_name = "FILE")]
    pub(crate) api_read_token_file: Option<PathBuf>,

    /// Maximum number of requests at the same time, of which one client (an address with
    /// a token) gets three quarters. Others get 429.
    #[arg(long, env, default_value = "256", value_parser = values::at_least_one)]
    pub(crate) api_max_requests: usize,

    /// Maximum number of record streams (NDJSON, CSV, events of the change log) at the
    /// same time, of which one client gets three quarters. Others get 429.
    #[arg(long, env, default_value = "8", value_parser = values::at_least_one)]
    pub(crate) api_max_streams: usize,

    /// How long a stop waits for the worker's acknowledgement.
    #[arg(long, env, default_value = "10s", value_name = "DURATION", value_parser = duration::or_seconds)]
    pub(crate) stop_wait: Duration,

    /// HTTP address of `ClickHouse`, such as `https://abc.clickhouse.cloud:8443`.
    #[arg(long, env, default_value = "http://127.0.0.1:8123", value_name = "URL", value_parser = values::http_address)]
    pub(crate) clickhouse_url: String,

    /// User for loading and queries.
    #[arg(long, env, default_value = "writer")]
    pub(crate) clickhouse_user: String,

    /// Its password.
    #[arg(long, env, hide_env_values = true)]
    pub(crate) clickhouse_password: Option<SecretString>,

    /// A file with that password, which is read again when it is replaced.
    #[arg(long, env, value_name = "FILE")]
    pub(crate) clickhouse_password_file: Option<PathBuf>,

    /// PEM file with the certificate authorities of a `ClickHouse` with https. Without
    /// it those of the system count.
    #[arg(long, env, value_name = "FILE")]
    pub(crate) clickhouse_ca_file: Option<PathBuf>,

    /// User for questions in SQL (POST /v1/sql, the dashboard): one that may only read what
    /// people may see.
    #[arg(long, env, default_value = "reader")]
    pub(crate) clickhouse_reader_user: String,

    /// Its password. Without one, questions in SQL are refused.
    #[arg(long, env, hide_env_values = true)]
    pub(crate) clickhouse_reader_password: Option<SecretString>,

    /// A file with that password, which is read again when it is replaced.
    #[arg(long, env, value_name = "FILE")]
    pub(crate) clickhouse_reader_password_file: Option<PathBuf>,

    /// Compression of traffic with `ClickHouse`: none, lz4 or auto. Auto is none
    /// for a loopback address, where compression costs more time than it saves.
    #[arg(long, env, default_value = "auto", value_enum)]
    pub(crate) clickhouse_compression: Compression,

    /// Maximum number of rows of one table in a batch.
    #[arg(long, env, default_value = "10000", value_parser = values::at_least_one)]
    pub(crate) batch_rows: usize,

    /// Maximum number of bytes that the records of a batch take in memory. Those of one
    /// table take a quarter of it at most.
    #[arg(long, env, default_value = "67108864", value_parser = values::at_least_one)]
    pub(crate) batch_bytes: usize,

    /// Age at which a batch is stored even if it is not full, and the minimum time
    /// between two that are not.
    #[arg(long, env, default_value = "400ms", value_name = "DURATION", value_parser = duration::or_milliseconds)]
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
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// Other machines can use the API without a token.
    #[error(
        "--api-address {0} can be reached from other machines: set API_TOKEN, or listen on \
         127.0.0.1"
    )]
    OpenWithoutToken(SocketAddr),
    /// A secret cannot be used.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// A token that may only read, where no request needs a token.
    #[error("API_READ_TOKEN is set without API_TOKEN: anybody could write")]
    ReadTokenAlone,
    /// Two tokens that are one.
    #[error("API_TOKEN and API_READ_TOKEN are the same: give each its own")]
    SameTokens,
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

    /// The tokens of the API: the one for everything, and the one that may only read.
    pub(crate) fn api_tokens(&self) -> Result<[Option<Secret>; 2], ConfigError> {
        let rule = |setting| Rule {
            setting,
            least: TOKEN_LENGTH,
        };
        let all = Secret::of(
            rule("API_TOKEN"),
            self.api_token.as_ref(),
            self.api_token_file.as_deref(),
        )?;
        let read = Secret::of(
            rule("API_READ_TOKEN"),
            self.api_read_token.as_ref(),
            self.api_read_token_file.as_deref(),
        )?;
        match (&all, &read) {
            (None, None) if !self.api_address.ip().is_loopback() => {
                Err(ConfigError::OpenWithoutToken(self.api_address))
            }
            (None, Some(_)) => Err(ConfigError::ReadTokenAlone),
            (Some(all), Some(read))
                if all.current().expose_secret() == read.current().expose_secret() =>
            {
                Err(ConfigError::SameTokens)
            }
            _ => Ok([all, read]),
        }
    }

    /// The password for ClickHouse.
    pub(crate) fn clickhouse_secret(&self) -> Result<Option<Secret>, ConfigError> {
        // Users without a password have an empty one.
        let value = self.clickhouse_password.as_ref();
        let value = value.filter(|it| !it.expose_secret().is_empty());
        let file = self.clickhouse_password_file.as_deref();
        Ok(Secret::given("CLICKHOUSE_PASSWORD", value, file)?)
    }

    /// The password of the user for questions in SQL.
    pub(crate) fn clickhouse_reader_secret(&self) -> Result<Option<Secret>, ConfigError> {
        let value = self.clickhouse_reader_password.as_ref();
        let value = value.filter(|it| !it.expose_secret().is_empty());
        let file = self.clickhouse_reader_password_file.as_deref();
        Ok(Secret::given("CLICKHOUSE_READER_PASSWORD", value, file)?)
    }

    /// What is wrong with settings that could be parsed.
    pub(crate) fn problems(&self) -> Vec<anyhow::Error> {
        let mut problems: Vec<anyhow::Error> = Vec::new();
        problems.extend(self.api_tokens().err().map(Into::into));
        problems.extend(self.clickhouse_secret().err().map(Into::into));
        problems.extend(self.clickhouse_reader_secret().err().map(Into::into));
        problems.extend(self.clickhouse_tls().err().map(Into::into));
        problems.extend(Registry::new(&self.registry).err().map(Into::into));
        problems.extend(self.process.traces.problems());
        problems.extend(self.kafka.security.problems().into_iter().map(Into::into));
        problems
    }

    /// The TLS of connections to `ClickHouse`.
    pub(crate) fn clickhouse_tls(&self) -> Result<TlsConnector, TlsError> {
        tls::connector("CLICKHOUSE_CA_FILE", self.clickhouse_ca_file.as_deref())
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
    fn no_setting_shows_its_secret() {
        chassis::redact::assert_settings_show_no_secret::<Config>();
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

    fn refused(arguments: &[&str]) -> String {
        let refused = parse(arguments).api_tokens();
        refused.map(drop).unwrap_err().to_string()
    }

    const TOKEN: &str = "0123456789abcdef";

    #[test]
    fn an_address_that_others_can_reach_needs_a_token() {
        let address = ["--api-address", "0.0.0.0:8080"];
        assert!(refused(&address).contains("API_TOKEN"));
        let [all, read] = parse(&[&address[..], &["--api-token", TOKEN]].concat())
            .api_tokens()
            .unwrap();
        assert!(all.is_some() && read.is_none());
        assert!(parse(&["--api-address", "[::1]:8080"]).api_tokens().is_ok());
    }

    #[test]
    fn tokens_that_are_empty_short_the_same_or_without_the_other_are_refused() {
        for (arguments, part) in [
            (vec!["--api-token", " "], "API_TOKEN is empty"),
            (vec!["--api-token", "short"], "API_TOKEN has 5 characters"),
            (
                vec!["--api-token", TOKEN, "--api-read-token", "short"],
                "API_READ_TOKEN has 5",
            ),
            (
                vec!["--api-token", TOKEN, "--api-read-token", TOKEN],
                "are the same",
            ),
            (vec!["--api-read-token", TOKEN], "without API_TOKEN"),
            (
                vec!["--api-token", TOKEN, "--api-token-file", "x"],
                "both set",
            ),
            (vec!["--api-token-file", "/nowhere/x"], "/nowhere/x"),
        ] {
            let refused = refused(&arguments);
            assert!(refused.contains(part), "{arguments:?}: {refused}");
        }
    }

    #[test]
    fn a_token_is_not_printed() {
        let printed = format!("{:?}", parse(&["--api-token", "hush-hush"]));
        assert!(!printed.contains("hush-hush"), "{printed}");
    }
}
