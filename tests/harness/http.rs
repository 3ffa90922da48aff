//! A server of HTTP in a test, in the place of one that is not part of the system.

use std::{convert::Infallible, error::Error};

use hyper::{
    Request, Response,
    body::{Body, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// Answers every request with `answer`, until what is returned is dropped; the port on
/// 127.0.0.1.
pub async fn serve<A, F, B>(answer: A) -> (u16, JoinSet<()>)
where
    A: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send,
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    serve_over(async |stream| Some(stream), answer).await
}

/// [`serve`] over what `handshake` makes of each connection; `None` ends the connection.
pub(crate) async fn serve_over<H, G, S, A, F, B>(handshake: H, answer: A) -> (u16, JoinSet<()>)
where
    H: Fn(TcpStream) -> G + Clone + Send + Sync + 'static,
    G: Future<Output = Option<S>> + Send,
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    A: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send,
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let mut accepting = JoinSet::new();
    accepting.spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            while connections.try_join_next().is_some() {}
            let (handshake, answer) = (handshake.clone(), answer.clone());
            connections.spawn(async move {
                let Some(stream) = handshake(stream).await else {
                    return;
                };
                let answer = service_fn(async |it| Ok::<_, Infallible>(answer(it).await));
                // A client may go at any time.
                let _gone = http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), answer)
                    .await;
            });
        }
    });
    (port, accepting)
}
