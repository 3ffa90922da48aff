//! A TCP proxy between two parts of the system, with faults by script.
//!
//! A [`Mode`] holds for every connection until the next one is set; an
//! [`Ambush`] waits for one request and falls on its answer. It must not know
//! what flows through it, beyond the frames of Kafka where an ambush names one.

mod connection;
mod lost_answer;
#[cfg(test)]
mod tests;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{net::TcpListener, sync::watch, task::JoinSet};

pub use lost_answer::{Ambush, Request};

use crate::{eventually, servers::free_port};

/// What happens to all connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Bytes flow.
    Pass,
    /// Connections are reset, and new ones as soon as they are made.
    Cut,
    /// Connections stay, nothing flows in either direction; what was sent
    /// meanwhile arrives afterwards.
    Stall,
    /// Bytes flow, slowly, in each direction of each connection.
    Slow {
        /// Bytes a second.
        bytes_per_second: usize,
    },
    /// The server's side is gone, and the client is not told: what it sends
    /// vanishes. Its connection is reset when the mode ends.
    HalfOpen,
}

/// A proxy on a port of its own.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    /// Ends with the proxy.
    _accepting: JoinSet<()>,
}

/// What all connections see.
#[derive(Debug)]
struct Shared {
    upstream: SocketAddr,
    mode: watch::Sender<Mode>,
    /// Counts up; every connection that was open then is reset.
    cuts: watch::Sender<u64>,
    ambushes: Mutex<Vec<Ambush>>,
    /// Ambushes that have fallen on an answer.
    sprung: watch::Sender<usize>,
    /// Connections made so far.
    accepted: watch::Sender<usize>,
}

impl Proxy {
    /// A proxy to a port on 127.0.0.1.
    pub async fn to(upstream: u16) -> Self {
        Self::between(free_port(), upstream).await
    }

    /// A proxy on a given port, where a server advertises that one.
    pub async fn between(port: u16, upstream: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port))
            .await
            .expect("the proxy listens");
        let shared = Arc::new(Shared {
            upstream: SocketAddr::from(([127, 0, 0, 1], upstream)),
            mode: watch::Sender::new(Mode::Pass),
            cuts: watch::Sender::new(0),
            ambushes: Mutex::default(),
            sprung: watch::Sender::new(0),
            accepted: watch::Sender::new(0),
        });
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, Arc::clone(&shared)));
        Self {
            port,
            shared,
            _accepting: accepting,
        }
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Changes what happens to all connections, open and to come.
    pub fn set(&self, mode: Mode) {
        self.shared.mode.send_replace(mode);
    }

    /// Bytes flow again.
    pub fn heal(&self) {
        self.set(Mode::Pass);
    }

    /// Holds a mode for a time.
    pub async fn hold(&self, mode: Mode, time: Duration) {
        self.set(mode);
        tokio::time::sleep(time).await;
        self.heal();
    }

    /// Resets every open connection; new ones are let through.
    pub fn reset(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Lays an ambush.
    pub fn lay(&self, ambush: Ambush) {
        self.shared.ambushes.lock().unwrap().push(ambush);
    }

    /// Takes back the ambushes that nothing has met.
    pub fn clear(&self) {
        self.shared.ambushes.lock().unwrap().clear();
    }

    /// How many ambushes have fallen on an answer.
    pub fn sprung(&self) -> usize {
        *self.shared.sprung.borrow()
    }

    /// Waits until so many ambushes in all have fallen on an answer.
    pub async fn until_sprung(&self, count: usize, limit: Duration) {
        eventually("an ambush falls on an answer", limit, async || {
            (self.sprung() >= count).then_some(())
        })
        .await;
    }

    /// How many connections were made so far.
    pub fn accepted(&self) -> usize {
        *self.shared.accepted.borrow()
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // Dropped with this task, and the connections with it.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((client, _)) = listener.accept() => {
                shared.accepted.send_modify(|count| *count += 1);
                connections.spawn(connection::serve(client, Arc::clone(&shared)));
            }
            Some(_ended) = connections.join_next() => {}
        }
    }
}
