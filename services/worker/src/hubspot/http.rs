//! The HTTP client that all portals share.

use std::time::Duration;

use anyhow::Context as _;

use super::config::HubSpotConfig;

const UNBUILT: &str = "the HTTP client cannot be built";

/// The HTTP client that all portals of a process share. A client for each portal
/// would load its own connection pool and root certificates, many times the
/// memory that a portal takes otherwise. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Http {
    pub(super) client: reqwest::Client,
}

impl Http {
    /// Builds the client and opens no connection.
    pub(crate) fn new(config: &HubSpotConfig) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder()
            .user_agent(config.user_agent.as_str())
            .connect_timeout(config.connect_timeout)
            .pool_idle_timeout(Duration::from_secs(50))
            .tcp_keepalive(Duration::from_secs(30))
            .gzip(true)
            .tls_backend_preconfigured(chassis::tls::system().context(UNBUILT)?)
            // Following a redirect would send the token to another host.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .context(UNBUILT)?;
        Ok(Self { client })
    }
}
