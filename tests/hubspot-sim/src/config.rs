//! What a simulator is told: its portals, its quirks, its limits.

use std::{net::SocketAddr, path::PathBuf};

use serde::{Deserialize, Serialize};

/// A simulator: one address, one or more portals.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where it listens; port 0 is any free one.
    pub listen: SocketAddr,
    /// The portals behind it.
    pub portals: Vec<PortalConfig>,
    /// Sleep before each answer, in ms.
    pub latency_ms: u64,
    /// Whether bodies are compressed for those who accept it.
    pub gzip: bool,
    /// Share of requests that meet a random fault, in percent.
    pub random_faults_percent: f64,
    /// Seed of the random faults.
    pub fault_seed: u64,
    /// Whether each request is kept with its time, beside the counters.
    pub keep_requests: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            portals: vec![PortalConfig::default()],
            latency_ms: 0,
            gzip: false,
            random_faults_percent: 0.0,
            fault_seed: 1,
            keep_requests: true,
        }
    }
}

impl Config {
    /// One portal with that many contacts and companies.
    pub fn with_sizes(contacts: u32, companies: u32) -> Self {
        Self {
            portals: vec![PortalConfig {
                contacts,
                companies,
                ..PortalConfig::default()
            }],
            ..Self::default()
        }
    }
}

/// One portal.
#[derive(Debug, Clone)]
pub struct PortalConfig {
    /// HubSpot's id of the account.
    pub portal_id: u64,
    /// The private-app tokens that lead to it.
    pub tokens: Vec<String>,
    /// Contacts at the start.
    pub contacts: u32,
    /// Companies at the start.
    pub companies: u32,
    /// Share of the objects that are in the recycle bin at the start, in percent.
    pub archived_percent: f64,
    /// Seed of all its data.
    pub seed: u64,
    /// Contact properties in all.
    pub properties: u16,
    /// Contact properties that an object has set, about.
    pub set_properties: u16,
    /// Objects of a type beyond so many share the values of earlier ones, so
    /// that millions fit into memory; 0 is all different.
    pub distinct: u32,
    /// Random changes a second.
    pub changes_per_second: f64,
    /// Where it is kept; nowhere where absent.
    pub state_dir: Option<PathBuf>,
    /// Offset of the account's time zone from UTC, in minutes.
    pub utc_offset_minutes: i64,
    /// The OAuth app installed in it.
    pub oauth: Option<OAuthConfig>,
    /// Whether each object is rendered at the start, for measurements.
    pub prerender: bool,
    /// The rate limits.
    pub limits: Limits,
    /// The quirks.
    pub quirks: Quirks,
}

impl Default for PortalConfig {
    fn default() -> Self {
        Self {
            portal_id: 4_711_001,
            tokens: vec!["demo-token".to_owned()],
            contacts: 200,
            companies: 20,
            archived_percent: 1.0,
            seed: 1,
            properties: 49,
            set_properties: 35,
            distinct: 0,
            changes_per_second: 0.0,
            state_dir: None,
            utc_offset_minutes: -300,
            oauth: None,
            prerender: false,
            limits: Limits::default(),
            quirks: Quirks::default(),
        }
    }
}

/// An OAuth app and its grant for one portal.
#[derive(Debug, Clone)]
pub struct OAuthConfig {
    /// The app's id.
    pub client_id: String,
    /// The app's secret.
    pub client_secret: String,
    /// The first refresh token.
    pub refresh_token: String,
    /// Whether a refresh replaces the refresh token too.
    pub rotate: bool,
    /// Life of an access token in seconds.
    pub expires_in_s: i64,
}

/// Rate limits of a portal; `None` is no limit.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// General requests per rolling 10 s and token.
    pub general: Option<u32>,
    /// Searches per second and account.
    pub search: Option<u32>,
    /// Association requests per rolling 10 s.
    pub associations: Option<u32>,
    /// Requests per day and account.
    pub daily: Option<u32>,
    /// Requests that other tools have made today.
    pub daily_used: u32,
    /// `Retry-After` on a 429, in seconds; HubSpot mostly sends none.
    pub retry_after: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            general: Some(190),
            search: Some(5),
            associations: Some(150),
            daily: Some(625_000),
            daily_used: 0,
            retry_after: None,
        }
    }
}

impl Limits {
    /// None at all.
    pub fn off() -> Self {
        Self {
            general: None,
            search: None,
            associations: None,
            daily: None,
            ..Self::default()
        }
    }
}

/// Where HubSpot is odd.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Quirks {
    /// Time until search sees a change, in ms.
    pub index_lag_ms: i64,
    /// What `after` of the list endpoint is.
    pub cursor: CursorMode,
    /// Each n-th search page is short though more follow; 0 is never.
    pub short_pages_every: u32,
    /// Search also returns rows this far outside of the window, in ms.
    pub window_slop_ms: i64,
    /// Longest search body, in characters.
    pub max_search_body: Option<usize>,
    /// Longest request target, in characters.
    pub max_url: usize,
}

impl Default for Quirks {
    fn default() -> Self {
        Self {
            index_lag_ms: 3_000,
            cursor: CursorMode::Id,
            short_pages_every: 0,
            window_slop_ms: 0,
            max_search_body: Some(3_000),
            max_url: 16_200,
        }
    }
}

/// What the list endpoint's `after` is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CursorMode {
    /// The id of the next record; any number can be asked for.
    #[default]
    Id,
    /// A token that only HubSpot can read.
    Opaque,
    /// A number, but of rows: looks like an id and is none.
    Offset,
}
