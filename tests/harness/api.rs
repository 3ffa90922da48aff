//! A client of the REST API.

use std::{sync::LazyLock, time::Duration};

use native_tls::TlsConnector;
use serde_json::{Value, json};

use crate::{HANG_LIMIT, LastSeen, eventually};

/// An instance of data-streams.
#[derive(Debug, Clone)]
pub struct Api {
    url: String,
    http: reqwest::Client,
}

/// An answer of the API.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Headers, by lower-case name.
    pub headers: reqwest::header::HeaderMap,
    /// JSON body; null where there is none.
    pub body: Value,
}

impl Api {
    /// A client of the instance on `port`.
    pub fn new(port: u16) -> Self {
        Self {
            url: format!("http://127.0.0.1:{port}"),
            http: client(),
        }
    }

    /// The address of the instance.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Sends a request with an optional JSON body.
    pub async fn send(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
        self.try_send(method, path, body)
            .await
            .unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// Sends a request to an instance that may be down.
    pub async fn try_send(
        &self,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> Result<Answer, reqwest::Error> {
        let mut request = self
            .http
            .request(method.parse().unwrap(), format!("{}{path}", self.url));
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await?;
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let text = response.text().await?;
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Ok(Answer {
            status,
            headers,
            body,
        })
    }

    /// GET, expecting 200.
    pub async fn get(&self, path: &str) -> Value {
        let answer = self.send("GET", path, None).await;
        assert_eq!(answer.status, 200, "GET {path}: {}", answer.body);
        answer.body
    }

    /// GET of text, expecting 200.
    pub async fn text(&self, path: &str, accept: &str) -> String {
        let request = self
            .http
            .get(format!("{}{path}", self.url))
            .header("accept", accept);
        let response = request.send().await.unwrap().error_for_status().unwrap();
        response.text().await.unwrap()
    }

    /// Starts a connection with settings.
    pub async fn start(&self, name: &str, settings: Value) {
        let answer = self
            .send(
                "POST",
                &format!("/v1/connections/{name}/start"),
                Some(settings),
            )
            .await;
        assert!(
            matches!(answer.status, 200..=202),
            "start: {} {}",
            answer.status,
            answer.body
        );
    }

    /// Stops a connection and returns once the worker has acknowledged it.
    pub async fn stop(&self, name: &str) {
        self.until_applied(name, "stop", None).await;
    }

    /// Sends a command (`start`, `stop`) until a worker has applied it: the
    /// API waits for a worker for a limited time and then answers 202.
    pub async fn until_applied(&self, name: &str, command: &str, body: Option<Value>) {
        let path = format!("/v1/connections/{name}/{command}");
        let what = format!("a worker applies {command}");
        eventually(&what, HANG_LIMIT, async || {
            let answer = self.try_send("POST", &path, body.clone()).await.ok()?;
            assert!(
                matches!(answer.status, 200..=202 | 409 | 503),
                "{path}: {} {}",
                answer.status,
                answer.body
            );
            (answer.status == 200).then_some(())
        })
        .await;
    }

    /// Requests one run of all streams and returns the answer.
    pub async fn sync(&self, name: &str) -> Value {
        let answer = self
            .send(
                "POST",
                &format!("/v1/connections/{name}/sync"),
                Some(json!({})),
            )
            .await;
        assert!(
            matches!(answer.status, 200..=202),
            "sync: {} {}",
            answer.status,
            answer.body
        );
        answer.body
    }

    /// A connection.
    pub async fn connection(&self, name: &str) -> Value {
        self.get(&format!("/v1/connections/{name}")).await
    }

    /// Deletes a connection and waits until that has been done; `path` names it, and
    /// whether its data goes, too.
    pub async fn delete(&self, path: &str) {
        eventually("the connection is deleted", HANG_LIMIT, async || {
            let status = self.send("DELETE", path, None).await.status;
            (status == 200 || status == 404).then_some(())
        })
        .await;
    }

    /// Waits until `found` is true of a connection, and returns it. An instance
    /// that cannot answer now is asked again.
    pub async fn until(
        &self,
        what: &str,
        name: &str,
        limit: Duration,
        found: impl Fn(&Value) -> bool,
    ) -> Value {
        let last = LastSeen::default();
        let path = format!("/v1/connections/{name}");
        eventually(what, limit, async || {
            let answer = self.try_send("GET", &path, None).await.ok()?;
            last.set(answer.body.clone());
            (answer.status == 200 && found(&answer.body)).then_some(answer.body)
        })
        .await
    }

    /// Rebuilds the warehouse from the log, and returns how that ended.
    pub async fn rebuild(&self) -> Value {
        let last = self.rebuild_of(json!({})).await;
        assert_eq!(last["state"], "done", "{last}");
        last
    }

    /// Requests a rebuild and waits until it has ended in some way.
    pub async fn rebuild_of(&self, body: Value) -> Value {
        let answer = self.send("POST", "/v1/warehouse/rebuild", Some(body)).await;
        assert_eq!(answer.status, 202, "{}", answer.body);
        let path = answer.body["status"].as_str().expect("a link").to_owned();
        eventually("the rebuild has ended", HANG_LIMIT, async || {
            let state = self.get(&path).await;
            (!state["ended_at"].is_null()).then_some(state)
        })
        .await
    }

    /// Waits until the instance is ready.
    pub async fn ready(&self) {
        eventually("data-streams is ready", HANG_LIMIT, async || {
            let answer = self.try_send("GET", "/health/ready", None).await.ok()?;
            (answer.status == 200).then_some(())
        })
        .await;
    }
}

/// Finds a stream in a connection's JSON.
pub fn stream<'a>(connection: &'a Value, name: &str) -> &'a Value {
    connection["streams"]
        .as_array()
        .and_then(|streams| streams.iter().find(|it| it["name"] == name))
        .unwrap_or(&Value::Null)
}

/// An HTTP client for tests, whose requests end after a minute. Each test has its own,
/// as the connections end with the test's runtime, but the system's certificates are
/// read once: a tenth of a second of CPU time.
pub fn client() -> reqwest::Client {
    static TLS: LazyLock<TlsConnector> =
        LazyLock::new(|| TlsConnector::new().expect("the system's certificates"));
    reqwest::Client::builder()
        .tls_backend_preconfigured(TLS.clone())
        // Only what a test asks for is compressed.
        .gzip(false)
        .timeout(Duration::from_mins(1))
        .build()
        .expect("a client")
}
