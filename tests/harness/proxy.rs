//! A TCP proxy between two parts of the system, with faults by script.
//!
//! A [`Mode`] holds for every connection until the next one is set; an
//! [`LostAnswer`] waits for one request and falls on its answer. It must not know
//! what flows through it, beyond the frames of Kafka where an lost_answer names one.

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

pub use lost_answer::{LostAnswer, Request};

use crate::{eventually, servers::free_port};

/// What happens to all connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Bytes flow.
    Forward,
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
    shared: Arc<ProxyState>,
    /// Ends with the proxy.
    _accepting: JoinSet<()>,
}

/// What all connections see.
#[derive(Debug)]
struct ProxyState {
    upstream: SocketAddr,
    mode: watch::Sender<Mode>,
    /// Counts up; every connection that was open then is reset.
    cuts: watch::Sender<u64>,
    lost_answers: Mutex<Vec<LostAnswer>>,
    /// Ambushes that have fallen on an answer.
    lost: watch::Sender<usize>,
    /// Connections made so far.
    accepted: watch::Sender<usize>,
}

impl Proxy {
    /// A proxy to a port on 127.0.0.1.
    pub async fn to(upstream: u16) -> Self {
        Self::on_port(free_port(), upstream).await
    }

    /// A proxy on a given port, where a server advertises that one.
    pub async fn on_port(port: u16, upstream: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port))
            .await
            .expect("the proxy listens");
        let shared = Arc::new(ProxyState {
            upstream: SocketAddr::from(([127, 0, 0, 1], upstream)),
            mode: watch::Sender::new(Mode::Forward),
            cuts: watch::Sender::new(0),
            lost_answers: Mutex::default(),
            lost: watch::Sender::new(0),
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
        self.set(Mode::Forward);
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

    /// Lays an lost_answer.
    pub fn lose(&self, lost_answer: LostAnswer) {
        self.shared.lost_answers.lock().unwrap().push(lost_answer);
    }

    /// Takes back the lost_answers that nothing has met.
    pub fn clear(&self) {
        self.shared.lost_answers.lock().unwrap().clear();
    }

    /// How many lost_answers have fallen on an answer.
    pub fn answers_lost(&self) -> usize {
        *self.shared.lost.borrow()
    }

    /// Waits until so many lost_answers in all have fallen on an answer.
    pub async fn until_answers_lost(&self, count: usize, limit: Duration) {
        eventually("an lost_answer falls on an answer", limit, async || {
            (self.answers_lost() >= count).then_some(())
        })
        .await;
    }

    /// How many connections were made so far.
    pub fn accepted(&self) -> usize {
        *self.shared.accepted.borrow()
    }
}

async fn accept(listener: TcpListener, shared: Arc<ProxyState>) {
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
