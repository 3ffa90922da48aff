//! A TCP proxy between two parts of the system that causes network faults.
//!
//! A [`Mode`] applies to every connection until the next one is set; a
//! [`LostAnswer`] waits for one request and drops the answer to it.

mod connection;
mod lost_answer;
#[cfg(test)]
mod tests;

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
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
    /// Connections are reset, new ones as soon as they are made.
    Cut,
    /// Connections stay open and nothing flows; what is sent arrives when the
    /// mode ends.
    Stall,
    /// Bytes flow at a limited rate in each direction of each connection.
    Slow {
        /// Bytes a second.
        bytes_per_second: usize,
    },
    /// The server's side is closed and the client's stays open: what the client
    /// sends is dropped. Its connection is reset when the mode ends.
    HalfOpen,
}

/// A proxy with its own port.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    shared: Arc<ProxyState>,
    /// Aborted when the proxy is dropped.
    _accepting: JoinSet<()>,
}

/// What all connections share.
#[derive(Debug)]
struct ProxyState {
    upstream: SocketAddr,
    mode: watch::Sender<Mode>,
    /// Each increment resets every open connection.
    cuts: watch::Sender<u64>,
    lost_answers: Mutex<Vec<LostAnswer>>,
    /// Connections made so far.
    made: AtomicUsize,
    /// Answers lost so far.
    lost: watch::Sender<usize>,
}

impl Proxy {
    /// A proxy to a port on 127.0.0.1.
    pub async fn to(upstream: u16) -> Self {
        Self::on_port(free_port(), upstream).await
    }

    /// A proxy on a port that the server advertises.
    pub async fn on_port(port: u16, upstream: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port))
            .await
            .expect("the proxy listens");
        let shared = Arc::new(ProxyState {
            upstream: SocketAddr::from(([127, 0, 0, 1], upstream)),
            mode: watch::Sender::new(Mode::Forward),
            cuts: watch::Sender::new(0),
            lost_answers: Mutex::default(),
            made: AtomicUsize::new(0),
            lost: watch::Sender::new(0),
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

    /// Changes what happens to all connections, open and new.
    pub fn set(&self, mode: Mode) {
        self.shared.mode.send_replace(mode);
    }

    /// Ends the fault.
    pub fn heal(&self) {
        self.set(Mode::Forward);
    }

    /// Applies a mode for a time.
    pub async fn hold(&self, mode: Mode, time: Duration) {
        self.set(mode);
        tokio::time::sleep(time).await;
        self.heal();
    }

    /// Resets every open connection; new ones are not affected.
    pub fn reset(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// How many connections were made so far.
    pub fn connections(&self) -> usize {
        self.shared.made.load(Ordering::SeqCst)
    }

    /// Loses the answer to one request.
    pub fn lose(&self, lost_answer: LostAnswer) {
        self.shared.lost_answers.lock().unwrap().push(lost_answer);
    }

    /// Cancels the losses that are still pending.
    pub fn clear(&self) {
        self.shared.lost_answers.lock().unwrap().clear();
    }

    /// How many answers were lost so far.
    pub fn answers_lost(&self) -> usize {
        *self.shared.lost.borrow()
    }

    /// Waits until that many answers in all were lost.
    pub async fn until_answers_lost(&self, count: usize, limit: Duration) {
        eventually("an answer is lost", limit, async || {
            (self.answers_lost() >= count).then_some(())
        })
        .await;
    }
}

async fn accept(listener: TcpListener, shared: Arc<ProxyState>) {
    // Dropped with this task, and the connections with it.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((client, _)) = listener.accept() => {
                shared.made.fetch_add(1, Ordering::SeqCst);
                connections.spawn(connection::serve(client, Arc::clone(&shared)));
            }
            Some(_ended) = connections.join_next() => {}
        }
    }
}
