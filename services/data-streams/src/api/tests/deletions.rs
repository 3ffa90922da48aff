//! Deletions of connections, and of what is stored of them.

use super::{connections::on_terms, *};

const PATH: &str = "/v1/connections/default";
const PURGE: &str = "/v1/connections/default?purge=true";

/// A deleted connection, as its worker has confirmed, and the `ETag` that it had.
async fn deleted() -> (Fixture, String) {
    let api = Fixture::new();
    let key = |value| ("idempotency-key", value);
    let (status, etag) = on_terms(&api, ("PUT", PATH), key("create")).await;
    assert_eq!(status, 201);
    let (status, _) = on_terms(&api, ("DELETE", PATH), key("delete")).await;
    assert_eq!(status, 202);
    let command = api.log.last_command("default");
    acknowledge(&api.log, "default", &command.command_id, "deleted");
    (api, etag.unwrap())
}

#[tokio::test(start_paused = true)]
async fn what_is_left_of_a_connection_is_dropped_on_the_terms_of_the_request() {
    let (api, etag) = deleted().await;
    for (header, value, expected) in [
        ("if-match", etag.as_str(), 412),
        ("if-match", "*", 412),
        ("idempotency-key", "create", 422),
        ("idempotency-key", "delete", 200),
        ("idempotency-key", "another", 200),
        ("accept", "*/*", 200),
    ] {
        let (status, _) = on_terms(&api, ("DELETE", PURGE), (header, value)).await;
        assert_eq!(status, expected, "{header}: {value}");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_dropped_that_somebody_takes_on_meanwhile() {
    for (successor, code) in [("default", "superseded"), ("other", "destination_in_use")] {
        let (api, _) = deleted().await;
        let path = format!("/v1/connections/{successor}");
        let take_on = async {
            // While the log is being skipped.
            tokio::time::sleep(Duration::from_millis(10)).await;
            api.send("PUT", &path, r#"{"destination":"hubspot"}"#).await
        };
        let purge = api.send("DELETE", PURGE, "");
        let ((status, problem), (made, _)) = tokio::join!(purge, take_on);
        assert_eq!(made, 201, "{successor}");
        assert_eq!((status, &problem["code"]), (409, &json!(code)));
    }
}
