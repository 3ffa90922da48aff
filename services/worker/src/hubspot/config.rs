//! Settings of the HubSpot client.

use std::{num::NonZeroU32, path::PathBuf, time::Duration};

use reqwest::Url;

/// Settings of the HubSpot client.
#[derive(Debug, Clone)]
pub(crate) struct HubSpotConfig {
    /// Base URL of the API.
    pub(crate) base_url: Url,
    /// Dated version of the API.
    pub(crate) api_version: String,
    /// The general limit; a number counts per 10 s.
    pub(crate) rate_limit: Limit,
    /// The limit of searches; a number counts per second.
    pub(crate) search_limit: Limit,
    /// Percent of the daily allowance that is left for the account's other
    /// tools.
    pub(crate) daily_reserve_percent: u32,
    /// Folder of `file:` credentials and of rotated refresh tokens.
    pub(crate) credentials_dir: PathBuf,
    /// Timeout for connecting.
    pub(crate) connect_timeout: Duration,
    /// Timeout from sending a request to the headers of its answer.
    pub(crate) headers_timeout: Duration,
    /// Timeout from sending a request to the end of its answer.
    pub(crate) body_timeout: Duration,
    /// Longest URL in bytes; a request with a longer one is replaced by one
    /// that names the properties in its body.
    pub(crate) longest_url: usize,
    /// The `User-Agent` header.
    pub(crate) user_agent: String,
}

/// A rate limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
    /// Taken from the headers of HubSpot's answers.
    Auto,
    /// This many requests; HubSpot's headers are ignored.
    Fixed(NonZeroU32),
    /// No limit.
    Off,
}

impl HubSpotConfig {
    /// Defaults, for the API at this address.
    pub(crate) fn at(base_url: Url) -> Self {
        Self {
            base_url,
            api_version: "2026-09".to_owned(),
            rate_limit: Limit::Auto,
            search_limit: Limit::Auto,
            daily_reserve_percent: 10,
            credentials_dir: PathBuf::from("credentials"),
            connect_timeout: Duration::from_secs(5),
            headers_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_mins(2),
            // URLs of up to about 16,000 characters were seen to work.
            longest_url: 12_000,
            user_agent: concat!("hubspot-streams/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}
