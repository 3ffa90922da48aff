//! The routes of connections.

use schemas::{CheckStatus, ConnectionStatus, Status};

use super::*;

#[tokio::test]
async fn a_connection_is_created_shown_replaced_and_deleted() {
    let api = Fixture::new();
    let (status, made) = api.send("PUT", "/v1/connections/default", "{}").await;
    assert_eq!((status, &made["state"]), (201, &json!("stopped")));
    assert_eq!(made["credential"], "env:HUBSPOT_ACCESS_TOKEN");
    assert_eq!(made["interval"], "5m");
    assert_eq!(made["destination"], "hubspot");
    assert_eq!(made["streams"][1]["name"], "companies");
    assert_eq!(made["observed"], Value::Null);
    let passes = json!({"late": "1h", "archived": "1h", "full": "24h"});
    assert_eq!(made["reconcile"], passes);
    assert_eq!(made["properties"], json!({}));
    let (status, _) = api
        .send("PUT", "/v1/connections/default", r#"{"interval":"1h"}"#)
        .await;
    assert_eq!(status, 200);
    let (_, shown) = api.send("GET", "/v1/connections/default", "").await;
    assert_eq!(shown["interval"], "1h");
    let (_, all) = api.send("GET", "/v1/connections", "").await;
    assert_eq!(all["connections"], json!([shown]));
    assert_eq!(
        api.send("DELETE", "/v1/connections/default", "").await.0,
        202
    );
    assert_eq!(api.send("GET", "/v1/connections/default", "").await.0, 404);
}

#[tokio::test]
async fn a_patch_changes_only_what_it_names() {
    let api = Fixture::new();
    let path = "/v1/connections/sales";
    let (status, refused) = api.send("PATCH", path, "{}").await;
    assert_eq!(
        (status, &refused["code"]),
        (404, &json!("connection_not_found"))
    );
    for (command, state) in [("", "stopped"), ("/start", "running")] {
        let method = if command.is_empty() { "PUT" } else { "POST" };
        let settings = r#"{"streams":["deals"],"interval":"1h"}"#;
        api.send(method, &format!("{path}{command}"), settings)
            .await;
        let (status, changed) = api.send("PATCH", path, r#"{"interval":"2h"}"#).await;
        assert_eq!((status, &changed["state"]), (200, &json!(state)));
        assert_eq!(changed["interval"], "2h");
        assert_eq!(changed["streams"][0]["name"], "deals");
        let (_, same) = api
            .send("PATCH", path, r#"{"interval":null,"streams":["deals"]}"#)
            .await;
        assert_eq!(same["command_id"], changed["command_id"]);
    }
}

/// Status and `ETag` of an answer to a request with a header.
pub(super) async fn on_terms(
    api: &Fixture,
    (method, path): (&str, &str),
    (header, value): (&str, &str),
) -> (u16, Option<String>) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header, value)
        .body(Body::empty())
        .unwrap();
    let response = api.raw(request).await;
    let etag = response.headers().get(header::ETAG);
    let etag = etag.map(|it| it.to_str().unwrap().to_owned());
    (response.status().as_u16(), etag)
}

#[tokio::test]
async fn commands_are_refused_when_the_connection_has_another_etag() {
    let api = Fixture::new();
    let path = "/v1/connections/default";
    let (status, _) = on_terms(&api, ("PUT", path), ("if-match", "*")).await;
    assert_eq!(status, 412);
    let (status, stopped) = on_terms(&api, ("PUT", path), ("if-none-match", "*")).await;
    let stopped = stopped.unwrap();
    assert_eq!(status, 201);
    let (status, _) = on_terms(&api, ("PUT", path), ("if-none-match", "*")).await;
    assert_eq!(status, 412);
    let start = format!("{path}/start");
    let (status, running) = on_terms(&api, ("POST", &start), ("if-match", &stopped)).await;
    let running = running.unwrap();
    assert_eq!(status, 200);
    assert_ne!(running, stopped);
    let (_, shown) = on_terms(&api, ("GET", path), ("accept", "*/*")).await;
    assert_eq!(shown.as_ref(), Some(&running));
    for (method, route, allowed) in [
        ("PUT", "", 200),
        ("PATCH", "", 200),
        ("POST", "/sync", 202),
        ("POST", "/reconcile", 202),
        ("POST", "/start", 200),
        ("DELETE", "", 202),
    ] {
        let path = format!("{path}{route}");
        let (status, _) = on_terms(&api, (method, &path), ("if-match", &stopped)).await;
        assert_eq!(status, 412, "{method} {route}");
        let (status, _) = on_terms(&api, (method, &path), ("if-match", &running)).await;
        assert_eq!(status, allowed, "{method} {route}");
    }
    let (status, problem) = api.send("DELETE", path, "").await;
    assert_eq!(
        (status, &problem["code"]),
        (404, &json!("connection_not_found"))
    );
}

#[tokio::test]
async fn passes_and_properties_are_set_and_return_to_their_defaults() {
    let api = Fixture::new();
    let path = "/v1/connections/default";
    let settings = r#"{"reconcile":{"late":"off","full":"7d"},
        "properties":{"contacts":{"exclude":["phone","email"]}}}"#;
    let (_, set) = api.send("PUT", path, settings).await;
    let passes = json!({"late": "off", "archived": "1h", "full": "7d"});
    assert_eq!(set["reconcile"], passes);
    let selected = json!({"contacts": {"exclude": ["email", "phone"]}});
    assert_eq!(set["properties"], selected);
    let (_, changed) = api
        .send("PATCH", path, r#"{"reconcile":{"archived":"90m"}}"#)
        .await;
    let passes = json!({"late": "off", "archived": "1h30m", "full": "7d"});
    assert_eq!(changed["reconcile"], passes);
    assert_eq!(changed["properties"], selected);
    assert_ne!(changed["etag"], set["etag"]);
    // Without the stream its selection goes.
    let (_, other) = api
        .send("PATCH", path, r#"{"streams":["companies"]}"#)
        .await;
    assert_eq!(other["properties"], json!({}));
    let (_, defaults) = api.send("PUT", path, "{}").await;
    let passes = json!({"late": "1h", "archived": "1h", "full": "24h"});
    assert_eq!(defaults["reconcile"], passes);
}

/// The next event of a stream of them, as JSON.
async fn next_event(body: &mut Body) -> Value {
    let frame = body.frame().await.unwrap().unwrap();
    let text = String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap();
    let (_, data) = text.split_once("event: connections\ndata: ").unwrap();
    serde_json::from_str(data).unwrap()
}

#[tokio::test(start_paused = true)]
async fn connections_are_sent_as_events_at_once_and_after_each_change() {
    let api = Fixture::new();
    let request = Request::get("/v1/connections")
        .header(header::ACCEPT, "text/event-stream")
        .body(Body::empty())
        .unwrap();
    let response = api.raw(request).await;
    assert_eq!(
        response.headers()[header::CONTENT_TYPE],
        "text/event-stream"
    );
    let mut events = response.into_body();
    assert_eq!(next_event(&mut events).await, json!({"connections": []}));
    for interval in ["1h", "2h"] {
        let settings = format!(r#"{{"interval":"{interval}"}}"#);
        api.send("PUT", "/v1/connections/default", &settings).await;
        let event = next_event(&mut events).await;
        assert_eq!(event["connections"][0]["interval"], interval);
    }
    // Nothing changes, so a comment shows that the connection is alive.
    let frame = events.frame().await.unwrap().unwrap();
    assert_eq!(&frame.into_data().unwrap()[..], b":\n\n");
}

#[tokio::test]
async fn all_wrong_fields_and_parameters_are_named_at_once() {
    let api = Fixture::new();
    api.send("PUT", "/v1/connections/default", "").await;
    let fields = |problem: &Value| {
        let errors = problem["errors"].as_array().unwrap();
        assert_eq!(problem["field"], errors[0]["field"]);
        let first = errors[0]["detail"].as_str().unwrap();
        assert!(problem["detail"].as_str().unwrap().ends_with(first));
        let fields = errors.iter().map(|it| it["field"].as_str().unwrap());
        fields.map(ToOwned::to_owned).collect::<Vec<_>>()
    };
    let body = r#"{"interval":"9s","credential":"x","colour":1}"#;
    let (status, problem) = api.send("PATCH", "/v1/connections/default", body).await;
    assert_eq!((status, &problem["code"]), (422, &json!("invalid_value")));
    assert_eq!(fields(&problem), ["interval", "credential", "colour"]);
    let path = "/v1/connections/default/records/contacts?limit=0&x=1&archived=maybe";
    let (status, problem) = api.send("GET", path, "").await;
    assert_eq!(
        (status, &problem["code"]),
        (400, &json!("invalid_parameter"))
    );
    assert_eq!(fields(&problem), ["limit", "x", "archived"]);
}

#[tokio::test]
async fn the_location_of_a_deletion_answers_when_the_connection_is_gone() {
    let api = Fixture::new();
    let path = "/v1/connections/default";
    api.send("PUT", path, "").await;
    let (status, deleted) = api.send("DELETE", path, "").await;
    assert_eq!(status, 202);
    let location = deleted["status"].as_str().unwrap();
    let (status, command) = api.send("GET", location, "").await;
    assert_eq!((status, &command["progress"]), (200, &json!("pending")));
    assert_eq!(command["state"], "deleted");
    let id = command["command_id"].as_str().unwrap();
    acknowledge(&api.log, "default", id, "deleted");
    let (_, command) = api.send("GET", location, "").await;
    assert_eq!(command["progress"], "applied");
    api.send("PUT", path, "").await;
    let (_, command) = api.send("GET", location, "").await;
    assert_eq!(command["progress"], "superseded");
    let (status, problem) = api.send("GET", &format!("{path}/commands/x"), "").await;
    assert_eq!(
        (status, &problem["code"]),
        (404, &json!("command_not_found"))
    );
}

#[tokio::test]
async fn a_stop_without_a_worker_is_answered_with_202_and_a_location() {
    let api = Fixture::new();
    api.send("POST", "/v1/connections/default/start", "").await;
    let request = Request::post("/v1/connections/default/stop")
        .body(Body::empty())
        .unwrap();
    let response = api.raw(request).await;
    assert_eq!(response.status(), 202);
    assert_eq!(
        response.headers().get(header::LOCATION).unwrap(),
        "/v1/connections/default"
    );
}

#[tokio::test(start_paused = true)]
async fn a_stop_is_answered_with_202_however_long_it_may_wait() {
    let api = Fixture::with(
        |settings| settings.stop_wait = Duration::from_mins(10),
        NumberedRecords { away: false },
    );
    api.send("POST", "/v1/connections/default/start", "").await;
    let (status, _) = api.send("POST", "/v1/connections/default/stop", "").await;
    assert_eq!(status, 202);
}

#[tokio::test]
async fn a_stop_is_answered_with_200_once_the_worker_has_applied_it() {
    let api = Fixture::with(
        |settings| settings.stop_wait = Duration::from_secs(10),
        NumberedRecords { away: false },
    );
    api.send("POST", "/v1/connections/default/start", "").await;
    let acknowledged = async {
        loop {
            tokio::task::yield_now().await;
            let (_, it) = api.send("GET", "/v1/connections/default", "").await;
            if it["state"] == "stopped" {
                let id = it["command_id"].as_str().unwrap();
                acknowledge(&api.log, "default", id, "stopped");
                return;
            }
        }
    };
    let stop = api.send("POST", "/v1/connections/default/stop", "");
    let ((status, body), ()) = tokio::join!(stop, acknowledged);
    assert_eq!(status, 200);
    assert_eq!(body["observed"]["state"], "stopped");
}

#[tokio::test]
async fn a_sync_answers_with_the_id_of_the_open_request() {
    let api = Fixture::new();
    api.send("PUT", "/v1/connections/default", "").await;
    let (status, first) = api.send("POST", "/v1/connections/default/sync", "").await;
    assert_eq!(status, 202);
    assert_eq!(first["requests"].as_array().unwrap().len(), 2);
    let (_, second) = api
        .send(
            "POST",
            "/v1/connections/default/sync",
            r#"{"streams":["contacts"]}"#,
        )
        .await;
    assert_eq!(second["request_id"], first["request_id"]);
    let (_, full) = api
        .send(
            "POST",
            "/v1/connections/default/sync",
            r#"{"kind":"resync"}"#,
        )
        .await;
    assert_ne!(full["request_id"], first["request_id"]);
    let (_, shown) = api.send("GET", "/v1/connections/default", "").await;
    assert_eq!(shown["streams"][0]["pending_request"]["kind"], "resync");
}

#[tokio::test(start_paused = true)]
async fn a_check_that_takes_long_is_shown_by_its_command_once_it_is_made() {
    let api = Fixture::new();
    api.send("PUT", "/v1/connections/default", "").await;
    let request = Request::post("/v1/connections/default/check")
        .body(Body::empty())
        .unwrap();
    let accepted = api.raw(request).await;
    assert_eq!(accepted.status(), 202);
    let location = accepted.headers()[header::LOCATION].to_str().unwrap();
    let (status, waiting) = api.send("GET", location, "").await;
    assert_eq!((status, waiting.get("check")), (200, None));
    let command = api.log.last_command("default");
    api.log.view.update(|it| {
        it.status(Status {
            connection: "default".to_owned(),
            whole: Some(ConnectionStatus {
                check: Some(CheckStatus {
                    check_id: command.check_id.unwrap(),
                    portal_id: Some(42),
                    scopes: Some(vec!["oauth".to_owned()]),
                    ..CheckStatus::default()
                }),
                ..ConnectionStatus::default()
            }),
            ..Status::default()
        });
    });
    let (_, made) = api.send("GET", location, "").await;
    assert_eq!(made["check"]["portal_id"], "42");
    assert_eq!(made["check"]["scopes"], json!(["oauth"]));
}

#[tokio::test(start_paused = true)]
async fn a_check_that_a_later_one_replaced_is_not_waited_for() {
    let api = Fixture::new();
    api.send("PUT", "/v1/connections/default", "").await;
    let check = async |key: Option<&str>| {
        let mut request = Request::post("/v1/connections/default/check");
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        api.raw(request.body(Body::empty()).unwrap()).await.status()
    };
    assert_eq!(check(Some("first")).await, 202);
    assert_eq!(check(None).await, 202);
    let began = tokio::time::Instant::now();
    // Repeated, and known by its key.
    assert_eq!(check(Some("first")).await, 409);
    assert!(began.elapsed() < Duration::from_secs(1));
}
