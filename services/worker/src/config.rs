//! The worker's settings: flags, and environment variables of the same names.

use std::{path::PathBuf, time::Duration};

use chassis::{duration, registry::Registry, values};
use clap::Parser;
use reqwest::Url;

use crate::{
    hubspot::{HubSpotConfig, Limit},
    schedule::Settings,
};

/// Fetches HubSpot accounts and writes them to Kafka, as the commands topic
/// asks.
#[derive(Debug, Clone, Parser)]
#[command(version, about)]
pub(crate) struct Config {
    /// Settings of every process.
    #[command(flatten)]
    pub(crate) process: chassis::Args,

    /// Where Kafka is.
    #[command(flatten)]
    pub(crate) kafka: chassis::kafka::KafkaArgs,

    /// Where the schema registry is.
    #[command(flatten)]
    pub(crate) registry: chassis::registry::RegistryArgs,

    /// Where HubSpot is.
    #[command(flatten)]
    pub(crate) hubspot: HubSpotArgs,

    /// When runs start.
    #[command(flatten)]
    pub(crate) schedule: ScheduleArgs,

    /// Size of transactions.
    #[command(flatten)]
    pub(crate) commit: CommitArgs,

    /// Name of this process in the status topic and to Kafka. Default: host name
    /// and process id.
    #[arg(long, env)]
    pub(crate) worker_name: Option<String>,
}

/// Where HubSpot is, and how much of its limits may be used.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct HubSpotArgs {
    /// Address of HubSpot's API.
    #[arg(long, env, default_value = "https://api.hubapi.com", value_name = "URL", value_parser = values::http_url)]
    pub(crate) hubspot_base_url: Url,

    /// Dated version of HubSpot's API.
    #[arg(long, env, default_value = "2026-09")]
    pub(crate) hubspot_api_version: String,

    /// `auto`: as HubSpot's headers and account info say; a number: requests per
    /// 10 seconds; `off`: no limit, for measurements with a simulator. Requests for
    /// associations have a limit of their own: 100 per 10 seconds, or none if this is off.
    #[arg(long, env, default_value = "auto", value_parser = limit)]
    pub(crate) hubspot_rate_limit: Limit,

    /// `auto`, a number of searches per second, or `off`.
    #[arg(long, env, default_value = "auto", value_parser = limit)]
    pub(crate) hubspot_search_limit: Limit,

    /// Percentage of the daily limit that is left to the account's other tools.
    #[arg(long, env, default_value = "10", value_parser = clap::value_parser!(u8).range(0..=90))]
    pub(crate) hubspot_daily_reserve: u8,

    /// The folder that `file:NAME` credentials are read from, and where rotated
    /// refresh tokens are kept.
    #[arg(long, env, default_value = "credentials")]
    pub(crate) credentials_dir: PathBuf,
}

/// When runs start, besides the intervals of each connection.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ScheduleArgs {
    /// Overrides the setting `reconcile.late` of every connection.
    #[arg(long, env, value_name = "DURATION", value_parser = duration::parse)]
    pub(crate) late_interval: Option<Duration>,

    /// How far back a run over late changes reads, from the start of the last one.
    #[arg(long, env, default_value = "2h", value_name = "DURATION", value_parser = duration::parse)]
    pub(crate) late_span: Duration,

    /// Overrides the setting `reconcile.archived` of every connection.
    #[arg(long, env, value_name = "DURATION", value_parser = duration::parse)]
    pub(crate) archived_interval: Option<Duration>,

    /// Overrides the setting `reconcile.full` of every connection.
    #[arg(long, env, value_name = "DURATION", value_parser = duration::parse)]
    pub(crate) full_interval: Option<Duration>,

    /// How old a change must be before it is expected in HubSpot's search index.
    #[arg(long, env, default_value = "15s", value_name = "DURATION", value_parser = duration::parse)]
    pub(crate) index_lag: Duration,

    /// Time between the two reads of an object that seems to be gone, after which it
    /// counts as deleted.
    #[arg(long, env, default_value = "1m", value_name = "DURATION", value_parser = duration::parse)]
    pub(crate) confirm_interval: Duration,

    /// Parts of the id space that a full pass reads at the same time.
    #[arg(long, env, default_value = "24", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) lanes: u16,
}

impl Config {
    /// What is wrong with settings that could be parsed.
    pub(crate) fn problems(&self) -> Vec<anyhow::Error> {
        let security = self.kafka.security.problems();
        let mut problems: Vec<anyhow::Error> = security.into_iter().map(Into::into).collect();
        problems.extend(Registry::new(&self.registry).err().map(Into::into));
        problems.extend(self.process.traces.problems());
        problems
    }
}

impl HubSpotArgs {
    /// For the client of HubSpot.
    pub(crate) fn client(&self) -> HubSpotConfig {
        HubSpotConfig {
            api_version: self.hubspot_api_version.clone(),
            rate_limit: self.hubspot_rate_limit,
            search_limit: self.hubspot_search_limit,
            daily_reserve_percent: u32::from(self.hubspot_daily_reserve),
            credentials_dir: self.credentials_dir.clone(),
            ..HubSpotConfig::at(self.hubspot_base_url.clone())
        }
    }
}

impl ScheduleArgs {
    /// For the schedule.
    pub(crate) fn settings(&self) -> Settings {
        let ms = |it: Duration| i64::try_from(it.as_millis()).unwrap_or(i64::MAX);
        Settings {
            late_interval: self.late_interval.map(ms),
            late_span: ms(self.late_span),
            archived_interval: self.archived_interval.map(ms),
            full_interval: self.full_interval.map(ms),
            index_lag: ms(self.index_lag),
            confirm_interval: ms(self.confirm_interval),
            lanes: usize::from(self.lanes),
        }
    }
}

/// Size of transactions.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct CommitArgs {
    /// Maximum number of records in one transaction.
    #[arg(long, env, default_value = "10000", value_parser = values::at_least_one)]
    pub(crate) transaction_records: usize,

    /// Maximum number of bytes in one transaction.
    #[arg(long, env, default_value = "8388608", value_parser = values::at_least_one)]
    pub(crate) transaction_bytes: usize,

    /// Maximum number of bytes of fetched pages that wait for a transaction, per
    /// partition.
    #[arg(long, env, default_value = "16777216", value_parser = values::at_least_one)]
    pub(crate) pending_bytes: usize,
}

fn limit(text: &str) -> Result<Limit, String> {
    match text {
        "auto" => Ok(Limit::Auto),
        "off" => Ok(Limit::Off),
        number => {
            let wrong = |error: std::num::ParseIntError| {
                format!("auto, off or a number above 0 is needed: {error}")
            };
            number.parse().map(Limit::Fixed).map_err(wrong)
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn no_setting_shows_its_secret() {
        chassis::redact::assert_settings_show_no_secret::<Config>();
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Config::command().debug_assert();
    }

    #[test]
    fn durations_need_their_unit() {
        let config = Config::try_parse_from(["worker", "--late-interval", "250ms"]).unwrap();
        assert_eq!(
            config.schedule.late_interval,
            Some(Duration::from_millis(250))
        );
        assert!(Config::try_parse_from(["worker", "--late-interval", "5"]).is_err());
    }

    #[test]
    fn limits_are_a_word_or_a_number() {
        assert_eq!(limit("auto"), Ok(Limit::Auto));
        assert_eq!(limit("off"), Ok(Limit::Off));
        assert!(matches!(limit("190"), Ok(Limit::Fixed(number)) if number.get() == 190));
        assert!(limit("0").is_err());
    }
}
