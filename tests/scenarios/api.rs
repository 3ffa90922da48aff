//! The REST API: what it refuses, and how it says so.

use harness::Stack;
use serde_json::{Value, json};

#[expect(clippy::too_many_lines, reason = "a table of cases")]
#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_refused_with_its_reason() {
    let stack = Stack::with(10, 1).start().await;
    let api = stack.api();
    let cases: Vec<(&str, &str, Option<Value>, &[u16])> = vec![
        (
            "PUT",
            "/v1/connections/Bad%20Name",
            Some(json!({})),
            &[400, 422],
        ),
        (
            "PUT",
            "/v1/connections/a",
            Some(json!({"interval": "9s"})),
            &[400, 422],
        ),
        (
            "PUT",
            "/v1/connections/a",
            Some(json!({"interval": "32d"})),
            &[400, 422],
        ),
        (
            "PUT",
            "/v1/connections/a",
            Some(json!({"interval": "soon"})),
            &[400, 422],
        ),
        (
            "PUT",
            "/v1/connections/a",
            Some(json!({"intervall": "5m"})),
            &[400, 422],
        ),
        (
            "PUT",
            "/v1/connections/a",
            Some(json!({"streams": []})),
            &[400, 422],
        ),
        (
            "PUT",
            "/v1/connections/a",
            Some(json!({"streams": ["con tacts"]})),
            &[400, 422],
        ),
        (
            "PUT",
            "/v1/connections/a",
            Some(json!({"credential": "/etc/passwd"})),
            &[400, 422],
        ),
        (
            "PUT",
            "/v1/connections/a",
            Some(json!({"credential": "env:PATH"})),
            &[400, 422],
        ),
        (
            "PUT",
            "/v1/connections/a",
            Some(json!({"credential": "file:../x"})),
            &[400, 422],
        ),
        (
            "PUT",
            "/v1/connections/a",
            Some(json!({"destination": "system"})),
            &[400, 422],
        ),
        ("PUT", "/v1/connections/a", Some(json!([])), &[400, 422]),
        ("GET", "/v1/connections/nobody", None, &[404]),
        ("POST", "/v1/connections/nobody/stop", None, &[404]),
        (
            "POST",
            "/v1/connections/nobody/sync",
            Some(json!({})),
            &[404],
        ),
        ("DELETE", "/v1/connections/nobody", None, &[404]),
        ("GET", "/v1/nothing", None, &[404]),
        ("PATCH", "/v1/connections", None, &[405]),
    ];
    for (method, path, body, expected) in cases {
        let answer = api.send(method, path, body.clone()).await;
        let what = format!(
            "{method} {path} {body:?}: {} {}",
            answer.status, answer.body
        );
        assert!(expected.contains(&answer.status), "{what}");
        assert_eq!(
            answer.headers["content-type"], "application/problem+json",
            "{what}"
        );
        assert!(answer.body["code"].is_string(), "{what}");
    }
    assert_eq!(api.get("/v1/connections").await["connections"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn stored_records_are_paged_without_a_gap_or_a_repeat() {
    let stack = Stack::with(450, 10).start().await;
    stack.first_sync(json!({})).await;
    stack.matches_truth("contacts").await;
    let api = stack.api();
    let mut ids = Vec::new();
    let mut path = "/v1/connections/default/records/contacts?limit=100&properties=email".to_owned();
    loop {
        let page = api.get(&path).await;
        for record in page["results"].as_array().unwrap() {
            assert_eq!(record["archived"], false);
            ids.push(record["id"].as_str().unwrap().parse::<u64>().unwrap());
        }
        let Some(after) = page["paging"]["next"]["after"].as_str() else {
            break;
        };
        path = format!(
            "/v1/connections/default/records/contacts?limit=100&properties=email&after={after}"
        );
    }
    assert_eq!(ids, stack.simulator.portal().ids("contacts"));

    let first = ids[0];
    let record = api
        .get(&format!("/v1/connections/default/records/contacts/{first}"))
        .await;
    assert_eq!(record["id"], first.to_string());
    let none = api
        .send("GET", "/v1/connections/default/records/contacts/1", None)
        .await;
    assert_eq!(none.status, 404);
    let lines = api
        .text(
            "/v1/connections/default/records/contacts?archived=any",
            "application/x-ndjson",
        )
        .await;
    assert_eq!(lines.lines().count(), 450);
}
