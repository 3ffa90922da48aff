//! Requests and answers, over a log in memory and a backend of numbered records.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::ConnectInfo,
    http::{Request, Response, header},
};
use chassis::{Clock, Context, Health};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::*;
use crate::control::tests::{MemoryLog, acknowledge, in_memory};

mod access;
mod changes;
mod connections;
mod deletions;
pub(super) mod numbered_records;
mod parameters;
mod reconciliations;
mod records;
mod repeated_commands;
mod sql;

use numbered_records::{NumberedRecords, RECORDS};

struct Fixture {
    router: Router,
    log: Arc<MemoryLog>,
}

impl Fixture {
    fn new() -> Self {
        Self::with(|_| {}, NumberedRecords { away: false })
    }

    fn with(change: impl FnOnce(&mut ApiSettings), backend: NumberedRecords) -> Self {
        let mut settings = ApiSettings {
            tokens: Tokens::default(),
            max_requests: 8,
            max_streams: 1,
            stop_wait: Duration::from_millis(50),
        };
        change(&mut settings);
        let context = Context::new(Clock::from_fn(|| 1_000), Health::without_metrics());
        let (control, log) = in_memory();
        Self {
            router: Api::new(context, control, Arc::new(backend), settings).router(),
            log,
        }
    }

    async fn raw(&self, request: Request<Body>) -> Response<Body> {
        self.router.clone().oneshot(request).await.unwrap()
    }

    async fn send(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .body(body.to_owned().into())
            .unwrap();
        let response = self.raw(request).await;
        let status = response.status().as_u16();
        if status >= 400 {
            let kind = response.headers().get(header::CONTENT_TYPE).unwrap();
            assert_eq!(kind, "application/problem+json", "{method} {path}");
        }
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (
            status,
            serde_json::from_slice(&bytes).unwrap_or(Value::Null),
        )
    }
}

#[expect(clippy::too_many_lines, reason = "a table of cases")]
#[tokio::test]
async fn every_refusal_has_its_status_and_its_code() {
    let api = Fixture::new();
    api.send("POST", "/v1/connections/default/start", "").await;
    let large = " ".repeat(MAX_BODY + 1);
    let records = "/v1/connections/default/records/contacts";
    for (method, path, body, status, code) in [
        ("PUT", "/v1/connections/a", "{", 400, "malformed_json"),
        ("PUT", "/v1/connections/a", "[]", 400, "malformed_json"),
        (
            "PUT",
            "/v1/connections/a",
            r#"{"x":1}"#,
            422,
            "unknown_field",
        ),
        (
            "PUT",
            "/v1/connections/a",
            r#"{"interval":"9s"}"#,
            422,
            "invalid_value",
        ),
        (
            "PUT",
            "/v1/connections/a",
            r#"{"destination":"hubspot"}"#,
            409,
            "destination_in_use",
        ),
        ("PUT", "/v1/connections/A", "", 422, "invalid_value"),
        (
            "PUT",
            "/v1/connections/Bad%20Name",
            "",
            422,
            "invalid_value",
        ),
        ("PUT", "/v1/connections/a", &large, 413, "body_too_large"),
        (
            "GET",
            "/v1/connections/nobody",
            "",
            404,
            "connection_not_found",
        ),
        ("GET", "/v1/connections/%ff", "", 400, "invalid_parameter"),
        (
            "DELETE",
            "/v1/connections/nobody",
            "",
            404,
            "connection_not_found",
        ),
        (
            "POST",
            "/v1/connections/nobody/stop",
            "",
            404,
            "connection_not_found",
        ),
        (
            "POST",
            "/v1/connections/nobody/sync",
            "",
            404,
            "connection_not_found",
        ),
        (
            "POST",
            "/v1/connections/nobody/reconcile",
            "",
            404,
            "connection_not_found",
        ),
        (
            "POST",
            "/v1/connections/default/reconcile",
            r#"{"kind":"resync"}"#,
            422,
            "unknown_field",
        ),
        (
            "POST",
            "/v1/connections/default/stop",
            r#"{"x":1}"#,
            422,
            "unknown_field",
        ),
        (
            "POST",
            "/v1/connections/default/check",
            r#"{"credential":"env:HUBSPOT_OTHER"}"#,
            422,
            "unknown_field",
        ),
        (
            "POST",
            "/v1/connections/default/sync",
            r#"{"streams":["x"]}"#,
            422,
            "invalid_value",
        ),
        ("GET", "/v1/nothing", "", 404, "route_not_found"),
        ("PATCH", "/v1/connections", "", 405, "method_not_allowed"),
        ("DELETE", "/health/live", "", 405, "method_not_allowed"),
        (
            "GET",
            "/v1/connections/default/records/deals",
            "",
            404,
            "stream_not_found",
        ),
        (
            "GET",
            "/v1/connections/nobody/records/contacts",
            "",
            404,
            "connection_not_found",
        ),
        (
            "GET",
            &format!("{records}/9999"),
            "",
            404,
            "record_not_found",
        ),
        ("GET", &format!("{records}/x"), "", 404, "record_not_found"),
        (
            "GET",
            &format!("{records}?limit=0"),
            "",
            400,
            "invalid_parameter",
        ),
        (
            "GET",
            &format!("{records}?limit=5000"),
            "",
            400,
            "invalid_parameter",
        ),
        (
            "GET",
            &format!("{records}?after=zz"),
            "",
            400,
            "invalid_parameter",
        ),
        (
            "GET",
            "/v1/warehouse/rebuild/none",
            "",
            404,
            "rebuild_not_found",
        ),
        ("GET", "/v1/dead-letters?x=1", "", 400, "invalid_parameter"),
        ("POST", "/v1/sql", "", 422, "invalid_value"),
        (
            "PATCH",
            "/v1/connections/default",
            r#"{"properties":{"deals":{"include":["amount"]}}}"#,
            422,
            "invalid_value",
        ),
    ] {
        let (actual, answer) = api.send(method, path, body).await;
        assert_eq!(
            (actual, answer["code"].as_str()),
            (status, Some(code)),
            "{method} {path}"
        );
        assert_eq!(answer["status"], status, "{method} {path}");
    }
}

#[tokio::test]
async fn dead_letters_and_rebuilds_are_shown() {
    let api = Fixture::new();
    let (_, letters) = api.send("GET", "/v1/dead-letters", "").await;
    assert_eq!(letters["results"][0]["reason"], "not_framed");
    assert_eq!(letters["results"][0]["offset"], 7);
    let (_, done) = api.send("POST", "/v1/dead-letters/reprocess", "").await;
    assert_eq!(done, json!({"stored": 1, "left": 2}));
    let (status, begun) = api.send("POST", "/v1/warehouse/rebuild", "").await;
    assert_eq!(
        (status, &begun["status"]),
        (202, &json!("/v1/warehouse/rebuild/r1"))
    );
    let (_, shown) = api.send("GET", "/v1/warehouse/rebuild/r1", "").await;
    assert_eq!(shown["state"], "reading");
}

/// With `UPDATE_SNAPSHOTS=1` it writes the file.
#[test]
fn the_openapi_document_equals_the_file_in_schemas() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../schemas/openapi/data-streams.json"
    );
    let mut generated = specification().to_pretty_json().unwrap();
    generated.push('\n');
    #[expect(clippy::disallowed_methods, reason = "only a switch of this test")]
    if std::env::var("UPDATE_SNAPSHOTS").is_ok() {
        std::fs::write(path, &generated).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        kept == generated,
        "the OpenAPI document has changed; make snapshots writes it"
    );
}
