//! The routes of reconciliations.

use schemas::{RunStatus, Status, StreamStatus};

use super::*;

/// A full pass over a stream that has ended, in the status.
fn pass(api: &Fixture, stream: &str, run_id: &str, waits_for: Option<&str>) {
    let run = RunStatus {
        run_id: run_id.to_owned(),
        reason: "full".to_owned(),
        outcome: Some("succeeded".to_owned()),
        started_at: 1_000,
        finished_at: Some(2_000),
        objects: Some(9),
        waits_for: waits_for.map(ToOwned::to_owned),
        ..RunStatus::default()
    };
    let stream = StreamStatus {
        name: stream.to_owned(),
        runs: vec![run],
        ..StreamStatus::default()
    };
    api.log.view.update(|it| {
        it.status(Status {
            connection: "default".to_owned(),
            stream: Some(stream),
            ..Status::default()
        });
    });
}

#[tokio::test]
async fn a_reconciliation_is_requested_and_where_to_look_is_named() {
    let api = Fixture::new();
    api.send("PUT", "/v1/connections/default", "").await;
    let request = Request::post("/v1/connections/default/reconcile")
        .body(Body::from(r#"{"streams":["contacts"]}"#))
        .unwrap();
    let response = api.raw(request).await;
    assert_eq!(response.status(), 202);
    assert_eq!(
        response.headers().get(header::LOCATION).unwrap(),
        "/v1/connections/default/reconciliations"
    );
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    let first: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(first["requests"].as_array().unwrap().len(), 1);
    assert_eq!(first["requests"][0]["kind"], "reconcile");

    // A sync is part of it; a resync is more.
    let body = r#"{"streams":["contacts"]}"#;
    for path in ["sync", "reconcile"] {
        let path = format!("/v1/connections/default/{path}");
        let (_, second) = api.send("POST", &path, body).await;
        assert_eq!(second["request_id"], first["request_id"], "{path}");
    }
    let body = r#"{"streams":["contacts"],"kind":"resync"}"#;
    let (_, more) = api.send("POST", "/v1/connections/default/sync", body).await;
    assert_ne!(more["request_id"], first["request_id"]);
}

#[tokio::test]
async fn the_last_comparison_of_a_stream_is_shown_with_it() {
    let api = Fixture::new();
    api.send("PUT", "/v1/connections/default", "").await;
    let (_, shown) = api.send("GET", "/v1/connections/default", "").await;
    let verdict = &shown["streams"][0]["verdict"];
    assert_eq!(verdict["in_hubspot"], 5);
    assert_eq!(
        (&verdict["in_warehouse"], &verdict["still_different"]),
        (&json!(4), &json!(1))
    );
    assert_eq!(shown["streams"][1]["verdict"], Value::Null);

    pass(&api, "contacts", "compared", None);
    pass(&api, "companies", "f", None);
    let path = "/v1/connections/default/reconciliations";
    let (status, listed) = api.send("GET", path, "").await;
    assert_eq!(status, 200);
    let results = listed["results"].as_array().unwrap();
    let of = |stream: &str| results.iter().find(|it| it["stream"] == stream).unwrap();
    assert_eq!(results.len(), 2);
    assert_eq!(of("contacts")["in_warehouse"], 4);
    assert_eq!(of("companies")["in_hubspot"], 9);
    assert_eq!(of("companies")["in_warehouse"], Value::Null);
    let (status, _) = api
        .send("GET", "/v1/connections/x/reconciliations", "")
        .await;
    assert_eq!(status, 404);
}

#[tokio::test]
async fn deletions_that_wait_can_be_confirmed() {
    let api = Fixture::new();
    api.send("POST", "/v1/connections/default/start", "").await;
    pass(
        &api,
        "companies",
        "f",
        Some("1,200 objects seem to be gone"),
    );
    let (_, listed) = api
        .send("GET", "/v1/connections/default/reconciliations", "")
        .await;
    assert_eq!(
        listed["results"][0]["waits_for"],
        "1,200 objects seem to be gone"
    );
    let confirm = |id: &str| format!("/v1/connections/default/reconciliations/{id}/confirm");
    let (status, answer) = api.send("POST", &confirm("other"), "").await;
    assert_eq!(
        (status, &answer["code"]),
        (404, &json!("reconciliation_not_found"))
    );
    for _ in 0..2 {
        let (status, _) = api.send("POST", &confirm("f"), "").await;
        assert_eq!(status, 202);
    }
    let command = api.log.view.last_command("default");
    let confirmed = command.confirmed.iter();
    let confirmed: Vec<_> = confirmed.map(|it| (&*it.stream, &*it.run_id)).collect();
    assert_eq!(confirmed, [("companies", "f")]);

    // Decided meanwhile, or compared already.
    pass(&api, "companies", "f", None);
    for id in ["f", "compared"] {
        pass(&api, "contacts", "g", None);
        let (status, answer) = api.send("POST", &confirm(id), "").await;
        assert_eq!(
            (status, &answer["code"]),
            (409, &json!("nothing_to_confirm"))
        );
    }
}
