//! HTTPS before a server that lacks it, as a load balancer puts it there.

use http_body_util::{Either, Full};
use hyper::body::Bytes;
use hyper::{
    Request, Response, StatusCode,
    body::Incoming,
    header::{AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE},
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use native_tls::{Identity, TlsAcceptor};
use tokio::task::JoinSet;

use crate::{http, tls::Certificates};

type Body = Either<Incoming, Full<Bytes>>;

/// HTTPS on a port of its own.
#[derive(Debug)]
pub struct HttpsFront {
    /// The port.
    pub port: u16,
    /// Aborted when the front is dropped.
    _accepting: JoinSet<()>,
}

impl HttpsFront {
    /// Forwards to a port. Where `authorization` is given, requests without that header
    /// get 401; it is not forwarded.
    pub async fn start(
        certificates: &Certificates,
        upstream: u16,
        authorization: Option<&str>,
    ) -> Self {
        let read = |name: &str| std::fs::read(certificates.path(name)).expect("a file");
        let identity = Identity::from_pkcs8(&read("server.pem"), &read("server.key"));
        let acceptor = TlsAcceptor::new(identity.expect("an identity")).expect("an acceptor");
        let acceptor = tokio_native_tls::TlsAcceptor::from(acceptor);
        let authorization =
            authorization.map(|it| HeaderValue::from_str(it).expect("a value of a header"));
        let client: Client<_, Incoming> =
            Client::builder(TokioExecutor::new()).build(HttpConnector::new());
        // A client that does not trust the certificate ends here.
        let handshake = move |stream| {
            let acceptor = acceptor.clone();
            async move { acceptor.accept(stream).await.ok() }
        };
        let answer =
            move |request| forward(client.clone(), upstream, authorization.clone(), request);
        let (port, accepting) = http::serve_over(handshake, answer).await;
        Self {
            port,
            _accepting: accepting,
        }
    }
}

async fn forward(
    client: Client<HttpConnector, Incoming>,
    upstream: u16,
    authorization: Option<HeaderValue>,
    mut request: Request<Incoming>,
) -> Response<Body> {
    let answer = |status: StatusCode| {
        let mut answer = Response::new(Either::Right(Full::default()));
        *answer.status_mut() = status;
        answer
    };
    if let Some(expected) = authorization
        && request.headers_mut().remove(AUTHORIZATION) != Some(expected)
    {
        let mut answer = answer(StatusCode::UNAUTHORIZED);
        let scheme = HeaderValue::from_static("Basic");
        answer.headers_mut().insert(WWW_AUTHENTICATE, scheme);
        return answer;
    }
    let path = request.uri().path_and_query().map_or("/", |it| it.as_str());
    let target = format!("http://127.0.0.1:{upstream}{path}");
    *request.uri_mut() = target.parse().expect("an address");
    match client.request(request).await {
        Ok(answer) => answer.map(Either::Left),
        Err(_) => answer(StatusCode::BAD_GATEWAY),
    }
}
