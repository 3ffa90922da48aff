//! One connection through the proxy: two pumps, and the faults that end or
//! delay them.

use std::{
    future::Future,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::watch,
};

use super::{
    Mode, ProxyState,
    lost_answer::{Matched, Scanner},
};

/// How often a slow connection forwards bytes.
const SLOW_PERIOD: Duration = Duration::from_millis(20);

/// Why a pump has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Its reader was closed normally.
    Closed,
    /// A side was reset, or the answer was lost.
    Reset,
}

/// Serves a client until a side closes or a fault ends the connection.
pub(super) async fn serve(mut client: TcpStream, shared: Arc<ProxyState>) {
    let mode = shared.mode.subscribe();
    let mut cuts = shared.cuts.subscribe();
    let flow = async {
        // A new connection waits while the link is stalled.
        until(&mode, |mode| mode != Mode::Stall).await;
        let mut server = TcpStream::connect(shared.upstream).await.ok()?;
        for stream in [&client, &server] {
            stream.set_nodelay(true).ok()?;
        }
        if pump_both(&mut client, &mut server, &shared).await == End::Reset {
            reset(&server);
            return None;
        }
        Some(())
    };
    let half_open = tokio::select! {
        ended = flow => {
            if ended.is_none() {
                reset(&client);
            }
            return;
        }
        _counted = cuts.changed() => false,
        () = until(&mode, |mode| mode == Mode::Cut) => false,
        () = until(&mode, |mode| mode == Mode::HalfOpen) => true,
    };
    if half_open {
        let mut dropped = vec![0; 16 * 1024];
        tokio::select! {
            () = async { while !matches!(client.read(&mut dropped).await, Ok(0) | Err(_)) {} } => {}
            () = until(&mode, |mode| mode != Mode::HalfOpen) => {}
        }
    }
    reset(&client);
}

/// From now on closing the stream sends RST.
fn reset(stream: &TcpStream) {
    // Fails only on a closed socket.
    let _closed = stream.set_zero_linger();
}

/// Waits for a mode.
fn until(
    mode: &watch::Receiver<Mode>,
    wanted: impl Fn(Mode) -> bool + Send + Sync,
) -> impl Future<Output = ()> + Send {
    let mut mode = mode.clone();
    async move {
        // The sender lives as long as the proxy.
        if mode.wait_for(|mode| wanted(*mode)).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

async fn pump_both(client: &mut TcpStream, server: &mut TcpStream, shared: &ProxyState) -> End {
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let matched = Mutex::new(None);
    let requests = Pump {
        from: from_client,
        to: to_server,
        shared,
    };
    let answers = Pump {
        from: from_server,
        to: to_client,
        shared,
    };
    let both = async { tokio::try_join!(requests.requests(&matched), answers.answers(&matched)) };
    match both.await {
        Ok(_) => End::Closed,
        Err(end) => end,
    }
}

struct Pump<'a> {
    from: ReadHalf<'a>,
    to: WriteHalf<'a>,
    shared: &'a ProxyState,
}

impl Pump<'_> {
    async fn requests(mut self, matched: &Mutex<Option<Matched>>) -> Result<(), End> {
        let mut scanner = Scanner::default();
        let mut buffer = vec![0; 64 * 1024];
        while let Some(bytes) = self.read(&mut buffer).await? {
            // Before the request is forwarded, as its answer comes later.
            let found = scanner.requests(bytes, &mut self.shared.lost_answers.lock().unwrap());
            if let Some(found) = found {
                matched.lock().unwrap().get_or_insert(found);
            }
            self.write(bytes).await?;
        }
        Ok(())
    }

    async fn answers(mut self, matched: &Mutex<Option<Matched>>) -> Result<(), End> {
        let mut scanner = Scanner::default();
        let mut buffer = vec![0; 64 * 1024];
        while let Some(bytes) = self.read(&mut buffer).await? {
            let forwarded = scanner.answers(bytes, &mut matched.lock().unwrap());
            let Some(forwarded) = forwarded else {
                self.write(bytes).await?;
                continue;
            };
            self.write(bytes.get(..forwarded).unwrap_or_default())
                .await?;
            self.shared.lost.send_modify(|count| *count += 1);
            return Err(End::Reset);
        }
        Ok(())
    }

    /// `None` at the end of the stream, which is forwarded.
    async fn read<'b>(&mut self, buffer: &'b mut [u8]) -> Result<Option<&'b [u8]>, End> {
        match self.from.read(buffer).await {
            Ok(0) => {
                // Fails where the other side has closed already.
                let _closed = self.to.shutdown().await;
                Ok(None)
            }
            Ok(count) => Ok(buffer.get(..count)),
            Err(_) => Err(End::Reset),
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), End> {
        let mode = self.shared.mode.subscribe();
        let mut rest = bytes;
        while !rest.is_empty() {
            until(&mode, |mode| mode != Mode::Stall).await;
            let now = *mode.borrow();
            let piece = match now {
                Mode::Slow { bytes_per_second } => {
                    tokio::time::sleep(SLOW_PERIOD).await;
                    (bytes_per_second / 50).clamp(1, rest.len())
                }
                Mode::Forward | Mode::Cut | Mode::Stall | Mode::HalfOpen => rest.len(),
            };
            let (now, later) = rest.split_at(piece);
            if self.to.write_all(now).await.is_err() {
                return Err(End::Reset);
            }
            rest = later;
        }
        Ok(())
    }
}
