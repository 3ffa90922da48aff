//! Serves HTTP to callers that may be slow, many or hostile: the number of
//! connections, the time and size of a request's head, and the time for which a
//! caller takes nothing of its answer, are limited. Answers carry the headers that
//! keep them from the pages of other sites.

use std::{net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::ConnectInfo,
    http::{HeaderName, HeaderValue, Request, Response, header},
};
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
};
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

/// Pages get everything from this server, and none is shown inside another page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
                      img-src 'self' data:; connect-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

/// What every answer tells a browser.
const HEADERS: [(HeaderName, HeaderValue); 4] = [
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(POLICY),
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("same-origin"),
    ),
    (
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    ),
    (
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    ),
];

/// Limits of a server.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Maximum number of connections. Further ones wait in the kernel's queue.
    pub connections: usize,
    /// Time for a request's head, from the connection's last answer on, so also
    /// the limit for an idle connection.
    pub head: Duration,
    /// Size of a head in bytes, approximately.
    pub head_bytes: usize,
    /// How long a caller may take nothing of its answer.
    pub stall: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1_024,
            head: Duration::from_secs(20),
            head_bytes: 64 * 1024,
            stall: Duration::from_secs(30),
        }
    }
}

/// Serves until `stop`. Requests that have begun by then are answered.
pub async fn serve(listener: TcpListener, router: Router, limits: Limits, stop: CancellationToken) {
    let slots = Arc::new(Semaphore::new(limits.connections));
    let mut connections = JoinSet::new();
    loop {
        let accepted = async {
            // The semaphore is never closed.
            let slot = Arc::clone(&slots).acquire_owned().await.ok();
            (slot, listener.accept().await)
        };
        let (slot, accepted) = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accepted => accepted,
            Some(_ended) = connections.join_next() => continue,
        };
        match accepted {
            Ok((stream, peer)) => {
                let served = connection((stream, peer), router.clone(), limits, stop.clone());
                connections.spawn(async move {
                    served.await;
                    drop(slot);
                });
            }
            Err(error) => {
                // Usually too many open files, of which some will be closed.
                tracing::warn!(%error, "connection not accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn connection(
    (stream, peer): (TcpStream, SocketAddr),
    router: Router,
    limits: Limits,
    stop: CancellationToken,
) {
    // Otherwise a small answer waits for a delayed acknowledgement.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "connection ended at its start");
        return;
    }
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(limits.stall));
    let service = router
        .map_request(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo(peer));
            request
        })
        .map_response(protect);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(limits.head_bytes)
        .serve_connection(
            TokioIo::new(Box::pin(stream)),
            TowerToHyperService::new(service),
        );
    let mut connection = pin!(connection);
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, "connection ended early");
    }
}

/// Adds what every answer tells a browser.
fn protect<B>(mut response: Response<B>) -> Response<B> {
    response.headers_mut().extend(HEADERS);
    response
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, routing::get};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    async fn server(limits: Limits) -> (u16, CancellationToken, JoinSet<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let endless = futures::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b'x'; 65_536]));
        let router = Router::new()
            .route("/", get(async || "hello"))
            .route("/endless", get(async move || Body::from_stream(endless)));
        let stop = CancellationToken::new();
        let mut task = JoinSet::new();
        task.spawn(serve(listener, router, limits, stop.clone()));
        (port, stop, task)
    }

    /// Everything that the server sends until it closes the connection.
    async fn answer(port: u16, pieces: &[&str], pause: Duration) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        for piece in pieces {
            if stream.write_all(piece.as_bytes()).await.is_err() {
                break;
            }
            tokio::time::sleep(pause).await;
        }
        let mut bytes = Vec::new();
        // A reset after the answer ends it as well.
        let _end = stream.read_to_end(&mut bytes).await;
        String::from_utf8_lossy(&bytes).into_owned()
    }

    #[tokio::test]
    async fn a_request_is_answered_and_a_stop_waits_for_it() {
        let (port, stop, mut task) = server(Limits::default()).await;
        let request = "GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        let text = answer(port, &[request], Duration::ZERO).await;
        assert!(
            text.starts_with("HTTP/1.1 200") && text.ends_with("hello"),
            "{text}"
        );
        stop.cancel();
        task.join_next().await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_head_that_arrives_too_slowly_is_cut_off() {
        let limits = Limits {
            head: Duration::from_millis(300),
            ..Limits::default()
        };
        let (port, _stop, _task) = server(limits).await;
        let began = tokio::time::Instant::now();
        let lines = [
            "GET / HTTP/1.1\r\n",
            "a: b\r\n",
            "c: d\r\n",
            "e: f\r\n",
            "g: h\r\n",
        ];
        let text = answer(port, &lines, Duration::from_millis(150)).await;
        assert!(!text.contains("200 OK"), "{text}");
        assert!(began.elapsed() < Duration::from_secs(10));
    }

    #[tokio::test]
    async fn a_head_that_is_too_large_is_refused() {
        let limits = Limits {
            head_bytes: 8 * 1024,
            ..Limits::default()
        };
        let (port, _stop, _task) = server(limits).await;
        let head = format!(
            "GET / HTTP/1.1\r\nhost: localhost\r\na: {}\r\n\r\n",
            "x".repeat(20_000)
        );
        let text = answer(port, &[&head], Duration::ZERO).await;
        assert!(
            text.is_empty() || text.starts_with("HTTP/1.1 431"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn a_connection_above_the_limit_is_served_once_an_idle_one_is_closed() {
        let limits = Limits {
            connections: 1,
            head: Duration::from_millis(500),
            ..Limits::default()
        };
        let (port, _stop, _task) = server(limits).await;
        // Sends nothing, and is closed for it.
        let idle = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let request = "GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        let text = answer(port, &[request], Duration::ZERO).await;
        assert!(text.starts_with("HTTP/1.1 200"), "{text}");
        drop(idle);
    }

    #[tokio::test]
    async fn a_caller_that_takes_nothing_of_its_answer_is_cut_off() {
        let limits = Limits {
            connections: 1,
            stall: Duration::from_millis(300),
            ..Limits::default()
        };
        let (port, _stop, _task) = server(limits).await;
        let mut stalled = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let request = "GET /endless HTTP/1.1\r\nhost: localhost\r\n\r\n";
        stalled.write_all(request.as_bytes()).await.unwrap();
        let mut head = [0; 15];
        stalled.read_exact(&mut head).await.unwrap();
        assert_eq!(&head, b"HTTP/1.1 200 OK");
        // Takes no more, so that others get its place.
        let request = "GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        let pieces = [request];
        let other = answer(port, &pieces, Duration::ZERO);
        let text = tokio::time::timeout(Duration::from_secs(20), other).await;
        assert!(text.unwrap().starts_with("HTTP/1.1 200"));
    }

    #[tokio::test]
    async fn every_answer_is_kept_from_the_pages_of_other_sites() {
        let (port, _stop, _task) = server(Limits::default()).await;
        for path in ["/", "/nowhere"] {
            let request =
                format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
            let text = answer(port, &[&request], Duration::ZERO).await;
            for line in [
                "cross-origin-resource-policy: same-origin",
                "frame-ancestors 'none'",
                "x-content-type-options: nosniff",
            ] {
                assert!(text.contains(line), "{path}: {text}");
            }
            assert!(!text.contains("unsafe-inline"), "{path}: {text}");
        }
    }
}
