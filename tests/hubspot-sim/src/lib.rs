//! A HubSpot simulator: the quirks of the real API over demo data, for the
//! demo portal and for tests in process.
//!
//! It must not know the client: what it does is HubSpot's behaviour, except under
//! `/__sim/`.

mod admin;
mod answer;
mod auth;
mod change;
mod clock;
mod config;
mod definitions;
mod digest;
mod endpoints;
mod faults;
mod index;
mod index_lag;
mod journal;
mod json;
mod limits;
mod links;
mod one_or_many;
mod portal;
mod query;
mod random_changes;
mod record;
mod rendering;
mod requests;
mod route;
mod seed;
mod selection;
mod sensitivity;
mod serve;
mod share;
mod state;
mod table;
mod timestamps;
mod token_info;
mod values;
mod wire;
mod words;

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use auth::TokenKind;
pub use change::{Change, ChangeError, Changed, Properties};
pub use clock::SimClock;
pub use config::{Config, CursorMode, LateRows, Limits, OAuthConfig, PortalConfig, Quirks};
pub use definitions::Definition;
pub use digest::{Digest, object_hash};
pub use faults::{Fault, FaultBody, Faults, Refusal, Rule};
pub use limits::Policy;
pub use links::AssociationType;
pub use one_or_many::one_or_many;
pub use portal::Portal;
pub use requests::{Counts, Requests, Seen};
pub use route::Kind;
pub use sensitivity::{Sensitivity, WithheldForm};
pub use table::{TrueObject, Truth};

use answer::Answer;
use auth::Tokens;

/// What all requests share.
#[derive(Debug)]
struct Shared {
    clock: SimClock,
    portals: Vec<Portal>,
    tokens: Tokens,
    faults: Faults,
    requests: Requests,
    latency_ms: AtomicU64,
    gzip: bool,
    keep_requests: bool,
}

impl Shared {
    fn portal(&self, id: Option<u64>) -> Option<&Portal> {
        match id {
            Some(id) => self.portals.iter().find(|portal| portal.id() == id),
            None => self.portals.first(),
        }
    }

    fn portal_of(&self, token: &str) -> Result<Portal, Answer> {
        let id = self.tokens.portal_of(token, self.clock.now_ms())?;
        self.portal(Some(id))
            .cloned()
            .ok_or_else(Answer::unknown_token)
    }

    fn latency_ms(&self) -> u64 {
        self.latency_ms.load(Ordering::Relaxed)
    }
}

/// A running simulator, which stops when it is dropped.
#[derive(Debug)]
pub struct Simulator {
    shared: Arc<Shared>,
    address: SocketAddr,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Simulator {
    /// Makes the portals and starts to answer.
    pub async fn start(config: Config) -> io::Result<Self> {
        let clock = config.now_ms.map_or_else(SimClock::default, SimClock::at);
        let tokens = Tokens::new(&config.portals);
        let drifts: Vec<f64> = config
            .portals
            .iter()
            .map(|it| it.changes_per_second)
            .collect();
        let (portals, opened) = (config.portals, clock.clone());
        let portals = tokio::task::spawn_blocking(move || {
            portals
                .iter()
                .map(|it| Portal::open(it, opened.clone()))
                .collect::<io::Result<Vec<_>>>()
        })
        .await
        .map_err(io::Error::other)??;
        let listener = TcpListener::bind(config.listen).await?;
        let address = listener.local_addr()?;
        let faults = Faults::new(config.random_faults_percent, config.fault_seed);
        config.faults.into_iter().for_each(|rule| faults.push(rule));
        let shared = Arc::new(Shared {
            clock,
            portals,
            tokens,
            faults,
            requests: Requests::default(),
            latency_ms: AtomicU64::new(config.latency_ms),
            gzip: config.gzip,
            keep_requests: config.keep_requests,
        });
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        for (portal, per_second) in shared.portals.iter().zip(drifts) {
            if per_second > 0.0 {
                tasks.spawn(random_changes::run(
                    portal.clone(),
                    per_second,
                    stop.clone(),
                ));
            }
        }
        tasks.spawn(accept(
            listener,
            Arc::clone(&shared),
            stop.clone(),
            tasks.clone(),
        ));
        Ok(Self {
            shared,
            address,
            stop,
            tasks,
        })
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its base URL, such as `http://127.0.0.1:1234`.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The first portal.
    pub fn portal(&self) -> Portal {
        match self.shared.portals.first() {
            Some(portal) => portal.clone(),
            #[expect(
                clippy::panic,
                reason = "a simulator without a portal is a mistake in a test"
            )]
            None => panic!("the simulator has no portal"),
        }
    }

    /// The portal of that id.
    pub fn portal_by_id(&self, id: u64) -> Option<Portal> {
        self.shared.portal(Some(id)).cloned()
    }

    /// The objects of a type of the first portal.
    pub fn truth(&self, object_type: &str) -> Option<Truth> {
        self.shared.portals.first()?.truth(object_type)
    }

    /// The faults.
    pub fn faults(&self) -> &Faults {
        &self.shared.faults
    }

    /// The request log.
    pub fn requests(&self) -> &Requests {
        &self.shared.requests
    }

    /// HubSpot's clock.
    pub fn clock(&self) -> &SimClock {
        &self.shared.clock
    }

    /// Moves HubSpot's clock forward.
    pub fn advance(&self, by: std::time::Duration) {
        self.shared.clock.advance(by);
    }

    /// Sets the latency of each answer.
    pub fn set_latency(&self, latency: std::time::Duration) {
        let ms = u64::try_from(latency.as_millis()).unwrap_or(0);
        self.shared.latency_ms.store(ms, Ordering::Relaxed);
    }

    /// Assigns a new or known token of a private app to a portal.
    pub fn assign_token(&self, token: &str, portal_id: u64) {
        self.assign_token_of(TokenKind::PrivateApp, token, portal_id);
    }

    /// Assigns a new or known token of that kind to a portal.
    pub fn assign_token_of(&self, kind: TokenKind, token: &str, portal_id: u64) {
        self.shared.tokens.assign(token, portal_id, kind);
    }

    /// Makes a token unknown.
    pub fn revoke_token(&self, token: &str) {
        self.shared.tokens.revoke(token);
    }

    /// Expires all OAuth access tokens of a portal.
    pub fn expire_access_tokens(&self, portal_id: u64) {
        self.shared
            .tokens
            .expire_all(portal_id, self.shared.clock.now_ms());
    }

    /// Revokes a portal's OAuth grant.
    pub fn revoke_grant(&self, portal_id: u64) {
        self.shared.tokens.revoke_grant(portal_id);
    }

    /// The current refresh token.
    pub fn refresh_token(&self, portal_id: u64) -> Option<String> {
        self.shared.tokens.refresh_token(portal_id)
    }

    /// Stops, closes all connections and waits for the end.
    pub async fn shutdown(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn accept(
    listener: TcpListener,
    shared: Arc<Shared>,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                tasks.spawn(connection(stream, Arc::clone(&shared), stop.clone()));
            }
            Err(error) => {
                // Usually too many open files: others may close some.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, shared: Arc<Shared>, stop: CancellationToken) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    let (socket, reset) = wire::Socket::new(stream);
    let service =
        service_fn(move |request| serve::request(Arc::clone(&shared), Arc::clone(&reset), request));
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .max_buf_size(1 << 20)
        .serve_connection(TokioIo::new(socket), service);
    tokio::select! {
        () = stop.cancelled() => {}
        served = serving => {
            if let Err(error) = served {
                tracing::debug!(%error, "a connection ended early");
            }
        }
    }
}

#[cfg(test)]
mod tests;
