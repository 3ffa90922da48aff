//! Connections to HubSpot and room for its answers, for all portals.
//!
//! It must not know what is asked.

use std::time::Duration;

use anyhow::Context as _;

use super::{body_pool::BodyPool, config::HubSpotConfig};

/// The connections to HubSpot that all portals of a process share: each client
/// has a pool and the certificates of all authorities to itself, many times
/// what a portal takes otherwise. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Http {
    pub(super) client: reqwest::Client,
    pub(super) pool: BodyPool,
}

impl Http {
    /// Connects to nothing yet.
    pub(crate) fn new(config: &HubSpotConfig) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder()
            .user_agent(config.user_agent.as_str())
            .connect_timeout(config.connect_timeout)
            .pool_idle_timeout(Duration::from_secs(50))
            .tcp_keepalive(Duration::from_secs(30))
            .gzip(true)
            // A redirect would carry the token to wherever it points.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .context("no HTTP client can be made")?;
        Ok(Self {
            client,
            pool: BodyPool::default(),
        })
    }
}
