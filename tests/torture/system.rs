//! What all actors share: the stack, the portals and their history.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use harness::{Api, Stack, Timeline, history::History};
use hubspot_sim::{Limits, OAuthConfig, Portal, PortalConfig, Simulator};
use rand::{RngExt as _, rngs::StdRng};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::counters::Counters;

/// Object types that are synced and changed.
pub(crate) const TYPES: [&str; 2] = ["contacts", "companies"];
/// The streams that are synced.
pub(crate) const STREAMS: [&str; 3] = ["contacts", "companies", "contacts>companies"];
/// HubSpot's id of the second account.
const SECOND_PORTAL: u64 = 99;
/// Workers besides the one that joins and leaves.
pub(crate) const WORKERS: usize = 2;

/// One account with its connection.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    pub(crate) connection: &'static str,
    pub(crate) portal: Portal,
    pub(crate) destination: &'static str,
    pub(crate) settings: serde_json::Value,
}

/// What all actors share.
#[derive(Debug)]
pub(crate) struct System {
    pub(crate) stack: tokio::sync::Mutex<Stack>,
    pub(crate) simulator: Arc<Simulator>,
    pub(crate) api: Api,
    pub(crate) accounts: [Account; 2],
    pub(crate) histories: [Mutex<History>; 2],
    pub(crate) counters: Counters,
    pub(crate) timeline: Timeline,
    /// Cancelled when the faults are over.
    pub(crate) faults_over: CancellationToken,
    /// Spans in which no request may come for an account: from the answer to a
    /// stop until the next start is sent.
    pub(crate) stopped: Mutex<Vec<(u64, Instant, Instant)>>,
    /// Spans in which the network held back requests to HubSpot, and forwarded them
    /// at the end.
    pub(crate) held_back: Mutex<Vec<(Instant, Instant)>>,
    /// Spans, in ms since 1970, in which the token of the first account saw a share of
    /// its contacts.
    pub(crate) partial_views: Mutex<Vec<(i64, i64)>>,
}

impl System {
    /// Starts everything and both connections.
    pub(crate) async fn start(timeline: Timeline, contacts: u32) -> Self {
        let credential = json!({
            "client_id": "app", "client_secret": "app-secret", "refresh_token": "refresh-1",
        });
        let mut second = PortalConfig {
            portal_id: SECOND_PORTAL,
            tokens: Vec::new(),
            contacts: contacts / 4,
            companies: 40,
            seed: timeline.seed() + 1,
            limits: Limits::off(),
            oauth: Some(OAuthConfig {
                client_id: "app".to_owned(),
                client_secret: "app-secret".to_owned(),
                refresh_token: "refresh-1".to_owned(),
                // HubSpot returns the same refresh token. With one that is valid
                // once, a crash right after the answer would lose the grant.
                rotate: false,
                expires_in_s: 20,
            }),
            ..PortalConfig::default()
        };
        second.quirks.index_lag_ms = 100;
        let seed = timeline.seed();
        let mut stack = Stack::with(contacts, contacts / 10)
            .links()
            .own_kafka()
            .own_registry()
            .portal(|portal| portal.seed = seed)
            .another_portal(second)
            .credential("second.json", &credential.to_string())
            // So that each kind of run starts often.
            .worker("LATE_INTERVAL", "25s")
            .worker("LATE_SPAN", "10m")
            .worker("ARCHIVED_INTERVAL", "20s")
            .worker("FULL_INTERVAL", "45s")
            .start()
            .await;
        while stack.workers.len() < WORKERS {
            stack.add_worker();
        }
        stack.add_data_streams();
        let api = Api::new(stack.instances[0].port);
        let simulator = Arc::clone(&stack.simulator);
        simulator.set_latency(Duration::from_millis(15));
        let (main, second) = (
            simulator.portal(),
            simulator.portal_by_id(SECOND_PORTAL).expect("the second"),
        );
        let histories = [&main, &second].map(|portal| Mutex::new(History::of(portal, &TYPES)));
        let account = |connection, portal, destination, credential: &str| Account {
            connection,
            portal,
            destination,
            settings: json!({"interval": "10s", "credential": credential, "streams": STREAMS}),
        };
        let accounts = [
            account("default", main, "hubspot", "env:HUBSPOT_ACCESS_TOKEN"),
            account("second", second, "hubspot_second", "file:second.json"),
        ];
        for account in &accounts {
            api.start(account.connection, account.settings.clone())
                .await;
        }
        Self {
            stack: tokio::sync::Mutex::new(stack),
            simulator,
            api,
            accounts,
            histories,
            counters: Counters::default(),
            timeline,
            faults_over: CancellationToken::new(),
            stopped: Mutex::default(),
            held_back: Mutex::default(),
            partial_views: Mutex::default(),
        }
    }

    /// Waits; `false` if the faults are over.
    pub(crate) async fn pause(&self, time: Duration) -> bool {
        tokio::select! {
            () = self.faults_over.cancelled() => false,
            () = tokio::time::sleep(time) => true,
        }
    }

    /// Waits for a random time; `false` if the faults are over.
    pub(crate) async fn pause_between(&self, choices: &mut StdRng, from: f64, to: f64) -> bool {
        let time = Duration::from_secs_f64(choices.random_range(from..to));
        self.pause(time).await
    }
}

/// A random element.
pub(crate) fn one_of<'a, T>(choices: &mut StdRng, things: &'a [T]) -> &'a T {
    &things[choices.random_range(0..things.len())]
}
