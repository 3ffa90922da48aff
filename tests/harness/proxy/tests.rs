//! The proxy in front of a server that echoes lines.

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

use super::*;
use crate::HANG_LIMIT;

/// How long the absence of bytes is watched.
const SHORT: Duration = Duration::from_millis(200);

/// Lines that the server has received. It ends when they are dropped.
struct Lines {
    got: mpsc::UnboundedReceiver<String>,
    _server: JoinSet<()>,
}

/// A server that echoes lines and reports them.
async fn echo() -> (u16, Lines) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (got, lines) = mpsc::unbounded_channel();
    let mut server = JoinSet::new();
    server.spawn(async move {
        let mut clients = JoinSet::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let got = got.clone();
            clients.spawn(async move {
                let (reader, mut writer) = stream.split();
                let mut reader = BufReader::new(reader).lines();
                while let Ok(Some(line)) = reader.next_line().await {
                    got.send(line.clone()).unwrap();
                    writer
                        .write_all(format!("{line}\n").as_bytes())
                        .await
                        .unwrap();
                }
            });
        }
    });
    let lines = Lines {
        got: lines,
        _server: server,
    };
    (port, lines)
}

struct Client(BufReader<TcpStream>);

impl Client {
    async fn of(proxy: &Proxy) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", proxy.port()))
            .await
            .unwrap();
        Self(BufReader::new(stream))
    }

    async fn say(&mut self, line: &str) {
        self.0
            .get_mut()
            .write_all(format!("{line}\n").as_bytes())
            .await
            .unwrap();
    }

    /// The next line; an error if the connection was reset or closed.
    async fn hear(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        let read = tokio::time::timeout(HANG_LIMIT, self.0.read_line(&mut line));
        match read.await.expect("an answer or an end")? {
            0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(line.trim_end().to_owned()),
        }
    }

    async fn hears_nothing(&mut self) {
        let mut byte = [0];
        let read = tokio::time::timeout(SHORT, self.0.read(&mut byte));
        assert!(read.await.is_err(), "nothing comes");
    }
}

#[tokio::test]
async fn bytes_flow_both_ways() {
    let (port, _lines) = echo().await;
    let proxy = Proxy::to(port).await;
    let mut client = Client::of(&proxy).await;
    client.say("one").await;
    assert_eq!(client.hear().await.unwrap(), "one");
}

#[tokio::test]
async fn a_cut_resets_open_and_new_connections_until_it_ends() {
    let (port, _lines) = echo().await;
    let proxy = Proxy::to(port).await;
    let mut client = Client::of(&proxy).await;
    client.say("one").await;
    client.hear().await.unwrap();
    proxy.set(Mode::Cut);
    assert_eq!(
        client.hear().await.unwrap_err().kind(),
        std::io::ErrorKind::ConnectionReset
    );
    let mut late = Client::of(&proxy).await;
    assert!(late.hear().await.is_err());
    proxy.heal();
    let mut client = Client::of(&proxy).await;
    client.say("two").await;
    assert_eq!(client.hear().await.unwrap(), "two");
}

#[tokio::test]
async fn a_reset_ends_open_connections_only() {
    let (port, _lines) = echo().await;
    let proxy = Proxy::to(port).await;
    let mut client = Client::of(&proxy).await;
    client.say("one").await;
    client.hear().await.unwrap();
    proxy.reset();
    assert!(client.hear().await.is_err());
    let mut client = Client::of(&proxy).await;
    client.say("two").await;
    assert_eq!(client.hear().await.unwrap(), "two");
}

#[tokio::test]
async fn a_stall_delays_and_loses_nothing() {
    let (port, mut lines) = echo().await;
    let proxy = Proxy::to(port).await;
    let mut client = Client::of(&proxy).await;
    client.say("one").await;
    client.hear().await.unwrap();
    proxy.set(Mode::Stall);
    client.say("two").await;
    client.hears_nothing().await;
    assert_eq!(lines.got.recv().await.unwrap(), "one");
    assert!(lines.got.try_recv().is_err(), "it has not arrived");
    proxy.heal();
    assert_eq!(client.hear().await.unwrap(), "two");
}

#[tokio::test]
async fn a_half_open_connection_accepts_bytes_and_drops_them() {
    let (port, mut lines) = echo().await;
    let proxy = Proxy::to(port).await;
    let mut client = Client::of(&proxy).await;
    client.say("one").await;
    client.hear().await.unwrap();
    proxy.set(Mode::HalfOpen);
    client.say("two").await;
    client.hears_nothing().await;
    proxy.heal();
    assert!(client.hear().await.is_err(), "then it is reset");
    assert_eq!(lines.got.recv().await.unwrap(), "one");
    assert!(lines.got.try_recv().is_err(), "what was sent is dropped");
}

#[tokio::test]
async fn a_slow_link_keeps_to_its_rate() {
    let (port, _lines) = echo().await;
    let proxy = Proxy::to(port).await;
    let mut client = Client::of(&proxy).await;
    proxy.set(Mode::Slow {
        bytes_per_second: 1_000,
    });
    let began = Instant::now();
    client.say(&"x".repeat(299)).await;
    assert_eq!(client.hear().await.unwrap().len(), 299);
    assert!(
        began.elapsed() >= Duration::from_millis(300),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn an_answer_is_lost_after_its_request_was_carried_out() {
    let (port, mut lines) = echo().await;
    let proxy = Proxy::to(port).await;
    proxy.lose(LostAnswer::to(Request::Containing("INSERT")).after(1));
    let mut client = Client::of(&proxy).await;
    for line in ["INSERT one", "SELECT"] {
        client.say(line).await;
        assert_eq!(client.hear().await.unwrap(), line);
    }
    assert_eq!(proxy.answers_lost(), 0);
    client.say("INSERT two").await;
    assert!(client.hear().await.is_err(), "the answer is lost");
    proxy.until_answers_lost(1, HANG_LIMIT).await;
    let received = [
        lines.got.recv().await.unwrap(),
        lines.got.recv().await.unwrap(),
        lines.got.recv().await.unwrap(),
    ];
    assert_eq!(
        received,
        ["INSERT one", "SELECT", "INSERT two"],
        "it was carried out"
    );
}

#[tokio::test]
async fn an_answer_can_be_lost_after_its_first_bytes() {
    let (port, _lines) = echo().await;
    let proxy = Proxy::to(port).await;
    proxy.lose(LostAnswer::to(Request::Any).within_answer(4));
    let mut client = Client::of(&proxy).await;
    client.say("abcdefgh").await;
    let mut heard = Vec::new();
    let end = client.0.read_to_end(&mut heard).await;
    assert!(end.is_err(), "reset, not closed");
    assert!(heard.len() <= 4, "{heard:?}");
    assert_eq!(proxy.answers_lost(), 1);
}
