//! Commands with a key: a repeated one changes nothing.

use super::*;
use crate::control::KEYS_KEPT;

const PATH: &str = "/v1/connections/default";

/// Sends a command with a key.
async fn keyed(api: &Fixture, (method, path, body): (&str, &str, &str), key: &str) -> (u16, Value) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("idempotency-key", key)
        .body(body.to_owned().into())
        .unwrap();
    let response = api.raw(request).await;
    let status = response.status().as_u16();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&bytes).unwrap())
}

fn commands(api: &Fixture) -> String {
    api.log.view.last_command("default").command_id
}

#[tokio::test]
async fn a_repeated_command_changes_nothing_and_gets_the_first_answer() {
    let api = Fixture::new();
    let create = ("PUT", PATH, "{}");
    assert_eq!(keyed(&api, create, "create").await.0, 201);
    let created = commands(&api);
    assert_eq!(keyed(&api, create, "create").await.0, 201);
    assert_eq!(commands(&api), created);
    assert_eq!(keyed(&api, create, "again").await.0, 200);

    let sync_path = format!("{PATH}/sync");
    let sync = ("POST", sync_path.as_str(), r#"{"kind":"resync"}"#);
    let (status, first) = keyed(&api, sync, "sync").await;
    assert_eq!(status, 202);
    let (_, repeated) = keyed(&api, sync, "sync").await;
    assert_eq!(repeated, first);

    // Somebody has changed the connection since, which a repetition does not undo.
    let (_, slow) = api.send("PATCH", PATH, r#"{"interval":"1h"}"#).await;
    keyed(&api, create, "create").await;
    let (_, shown) = api.send("GET", PATH, "").await;
    assert_eq!(shown["command_id"], slow["command_id"]);

    let delete = ("DELETE", PATH, "");
    let (status, deleted) = keyed(&api, delete, "delete").await;
    assert_eq!(status, 202);
    assert_eq!(keyed(&api, delete, "delete").await.1, deleted);
    keyed(&api, create, "create-anew").await;
    let (status, _) = keyed(&api, delete, "delete").await;
    assert_eq!(status, 409, "a later command came");
    assert_eq!(
        api.send("GET", PATH, "").await.0,
        200,
        "it was not deleted again"
    );
}

#[tokio::test]
async fn a_key_of_another_request_and_a_wrong_one_are_refused() {
    let api = Fixture::new();
    keyed(&api, ("PUT", PATH, ""), "k").await;
    let (status, problem) = keyed(&api, ("PUT", PATH, r#"{"interval":"1h"}"#), "k").await;
    let code = json!("idempotency_key_reused");
    assert_eq!((status, &problem["code"]), (422, &code));
    let stop = format!("{PATH}/stop");
    assert_eq!(keyed(&api, ("POST", &stop, ""), "k").await.0, 422);
    let (status, problem) = keyed(&api, ("PUT", PATH, ""), &"x".repeat(256)).await;
    assert_eq!(
        (status, &problem["field"]),
        (400, &json!("Idempotency-Key"))
    );
    // Another connection has keys of its own.
    let other = ("PUT", "/v1/connections/other", r#"{"interval":"1h"}"#);
    assert_eq!(keyed(&api, other, "k").await.0, 201);
}

#[tokio::test]
async fn the_last_keys_are_known() {
    let api = Fixture::new();
    for number in 0..=KEYS_KEPT {
        let body = format!(r#"{{"interval":"{}m"}}"#, number + 1);
        keyed(&api, ("PUT", PATH, &body), &format!("k{number}")).await;
    }
    keyed(&api, ("PUT", PATH, r#"{"interval":"2m"}"#), "k1").await;
    let (_, shown) = api.send("GET", PATH, "").await;
    assert_eq!(shown["interval"], "33m", "k1 is known");
    keyed(&api, ("PUT", PATH, r#"{"interval":"1m"}"#), "k0").await;
    let (_, shown) = api.send("GET", PATH, "").await;
    assert_eq!(shown["interval"], "1m", "k0 is forgotten");
}
