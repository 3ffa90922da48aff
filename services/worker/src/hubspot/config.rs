//! Where HubSpot is, and how it may be used.
//!
//! It must not know where the settings come from.

use std::{num::NonZeroU32, path::PathBuf, time::Duration};

/// Where HubSpot is, and how it may be used.
#[derive(Debug, Clone)]
pub struct HubSpotConfig {
    /// Address of the API.
    pub base_url: String,
    /// Dated version of the API.
    pub api_version: String,
    /// The general limit; a number counts per 10 s.
    pub rate_limit: Limit,
    /// The limit of searches; a number counts per second.
    pub search_limit: Limit,
    /// Percent of the daily allowance that is left to the account's other
    /// tools.
    pub daily_reserve_percent: u32,
    /// The folder of `file:` credentials and of rotated refresh tokens.
    pub credentials_dir: PathBuf,
    /// Time for a connection.
    pub connect_timeout: Duration,
    /// Time for the headers of an answer.
    pub headers_timeout: Duration,
    /// Time for a whole answer.
    pub body_timeout: Duration,
    /// Longest URL that is sent; beyond it properties are asked for in a body.
    pub longest_url: usize,
    /// How the client names itself.
    pub user_agent: String,
}

/// A limit of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// HubSpot's answers decide.
    Auto,
    /// This many, whatever HubSpot says.
    Fixed(NonZeroU32),
    /// None.
    Off,
}

impl Default for HubSpotConfig {
    fn default() -> Self {
        Self {
            base_url: "https://api.hubapi.com".to_owned(),
            api_version: "2026-09".to_owned(),
            rate_limit: Limit::Auto,
            search_limit: Limit::Auto,
            daily_reserve_percent: 10,
            credentials_dir: PathBuf::from("credentials"),
            connect_timeout: Duration::from_secs(5),
            headers_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_mins(2),
            // Addresses of up to about 16,000 characters were seen to work.
            longest_url: 12_000,
            user_agent: concat!("hubspot-streams/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}
