//! The configuration of a simulator: portals, quirks, limits.

use std::{net::SocketAddr, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::{auth::TokenKind, faults::Rule, sensitivity::WithheldForm};

/// A simulator: one address, one or more portals.
#[derive(Debug, Clone)]
pub struct Config {
    /// Address to listen on; port 0 is any free port.
    pub listen: SocketAddr,
    /// Its portals.
    pub portals: Vec<PortalConfig>,
    /// HubSpot's time at the start, in ms since 1970; the machine's where absent.
    /// A portal that was saved at a later time moves it forward to that.
    pub now_ms: Option<i64>,
    /// Latency of each answer, in ms.
    pub latency_ms: u64,
    /// Whether bodies are compressed for clients that accept it.
    pub gzip: bool,
    /// Share of requests with a random fault, in percent.
    pub random_faults_percent: f64,
    /// Seed of the random faults.
    pub fault_seed: u64,
    /// The scripted faults at the start.
    pub faults: Vec<Rule>,
    /// Whether each request is kept, besides the counters.
    pub keep_requests: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            portals: vec![PortalConfig::default()],
            now_ms: None,
            latency_ms: 0,
            gzip: false,
            random_faults_percent: 0.0,
            fault_seed: 1,
            faults: Vec::new(),
            keep_requests: true,
        }
    }
}

impl Config {
    /// One portal with these numbers of contacts and companies.
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
    /// Its tokens that do not expire.
    pub tokens: Vec<String>,
    /// The kind of these tokens.
    pub token_kind: TokenKind,
    /// Contacts at the start.
    pub contacts: u32,
    /// Companies at the start.
    pub companies: u32,
    /// Share of the objects in the recycle bin at the start, in percent.
    pub archived_percent: f64,
    /// Seed of all its data.
    pub seed: u64,
    /// Number of contact properties.
    pub properties: u16,
    /// Average number of properties that are set on a contact.
    pub set_properties: u16,
    /// How many objects of a type have values of their own; the others share
    /// them, so that millions fit into memory. 0 is no limit.
    pub distinct: u32,
    /// Random changes per second.
    pub changes_per_second: f64,
    /// Folder in which the portal is kept; in memory only where absent.
    pub state_dir: Option<PathBuf>,
    /// Offset of the account's time zone from UTC, in minutes.
    pub utc_offset_minutes: i64,
    /// Its OAuth app.
    pub oauth: Option<OAuthConfig>,
    /// Whether each object is rendered at the start, for benchmarks.
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
            token_kind: TokenKind::PrivateApp,
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
    /// Whether a refresh also replaces the refresh token.
    pub rotate: bool,
    /// Lifetime of an access token, in seconds.
    pub expires_in_s: i64,
}

/// Rate limits of a portal; `None` is no limit.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// General requests per token of a private app or service key in any 10 s.
    pub general: Option<u32>,
    /// General requests per OAuth app in any 10 s.
    pub oauth: Option<u32>,
    /// Searches per account in any second.
    pub search: Option<u32>,
    /// Association requests in any 10 s.
    pub associations: Option<u32>,
    /// Requests per account and day, without those of OAuth apps.
    pub daily: Option<u32>,
    /// Requests of other clients today.
    pub daily_used: u32,
    /// `Retry-After` of a 429, in seconds; HubSpot usually sends none.
    pub retry_after: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            general: Some(190),
            oauth: Some(110),
            search: Some(5),
            associations: Some(150),
            daily: Some(625_000),
            daily_used: 0,
            retry_after: None,
        }
    }
}

impl Limits {
    /// No limits.
    pub fn off() -> Self {
        Self {
            general: None,
            oauth: None,
            search: None,
            associations: None,
            daily: None,
            ..Self::default()
        }
    }
}

/// HubSpot's peculiarities.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Quirks {
    /// Time until search shows a change, in ms.
    pub index_lag_ms: i64,
    /// Objects whose changes search shows later than that.
    pub late_rows: Vec<LateRows>,
    /// The form of the list endpoint's `after`.
    pub cursor: CursorMode,
    /// Every n-th search page is short although more rows follow; 0 is never.
    pub short_pages_every: u32,
    /// Search also returns rows that are this far outside the window, in ms.
    pub window_slop_ms: i64,
    /// Longest search body, in characters.
    pub max_search_body: Option<usize>,
    /// Longest request target, in characters.
    pub max_url: usize,
    /// What a token without the scope for sensitive values gets.
    pub withheld: WithheldForm,
}

impl Default for Quirks {
    fn default() -> Self {
        Self {
            index_lag_ms: 3_000,
            late_rows: Vec::new(),
            cursor: CursorMode::Id,
            short_pages_every: 0,
            window_slop_ms: 0,
            max_search_body: Some(3_000),
            max_url: 16_200,
            withheld: WithheldForm::default(),
        }
    }
}

/// A share of the objects whose changes search shows late.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LateRows {
    /// Only objects of that type.
    #[serde(default)]
    pub object_type: Option<String>,
    /// Share of the objects, in percent, chosen by a hash of the id.
    pub percent: f64,
    /// Time until search shows a change of them, in ms.
    pub ms: i64,
    /// Another seed chooses other ids.
    #[serde(default)]
    pub seed: u64,
}

/// The form of the list endpoint's `after`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CursorMode {
    /// The id of the next record; any number is accepted.
    #[default]
    Id,
    /// A token that only HubSpot can read.
    Opaque,
    /// A number of rows, which looks like an id.
    Offset,
}
