//! The route of the change log.

use super::*;

const PATH: &str = "/v1/connections/default/changes";

/// A connection whose account is known.
async fn known() -> Fixture {
    known_to(Fixture::new()).await
}

async fn known_to(api: Fixture) -> Fixture {
    api.send("PUT", "/v1/connections/default", "").await;
    acknowledge(&api.log, "default", "a-command", "running");
    api
}

/// The whole body of an answer.
async fn text(api: &Fixture, accept: &str, last: &str) -> String {
    let request = Request::get(PATH)
        .header(header::ACCEPT, accept)
        .header("last-event-id", last);
    let answer = api.raw(request.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status(), 200);
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn the_log_is_read_completely_in_pages() {
    let api = known().await;
    let mut offsets = Vec::new();
    let mut after = String::new();
    loop {
        let path = format!("{PATH}?limit=3{after}");
        let (status, page) = api.send("GET", &path, "").await;
        assert_eq!(status, 200, "{page}");
        let records = page["results"].as_array().unwrap();
        offsets.extend(records.iter().map(|it| it["offset"].as_i64().unwrap()));
        after = format!(
            "&after={}",
            page["paging"]["next"]["after"].as_str().unwrap()
        );
        if page["at_end"] == true {
            break;
        }
    }
    assert_eq!(offsets, [0, 1, 2, 3, 4]);
    assert_eq!(after, "&after=c1_9_5");
    let (_, page) = api.send("GET", &format!("{PATH}?limit=1"), "").await;
    let first = &page["results"][0];
    assert_eq!(first["properties"], json!({"age": "0"}));
    assert_eq!(
        (&first["id"], &first["after"]),
        (&json!("7"), &json!("c1_0_1"))
    );
}

#[tokio::test]
async fn one_client_reads_no_more_than_its_share_of_pages_at_a_time() {
    let many = Fixture::with(|it| it.max_requests = 256, NumberedRecords { away: false });
    let api = known_to(many).await;
    let path = format!("{PATH}?limit=3");
    let pages = (0..crate::api::MAX_PAGES).map(|_| api.send("GET", &path, ""));
    let answers = futures::future::join_all(pages).await;
    let refused = answers
        .iter()
        .filter(|(status, problem)| (*status, &problem["code"]) == (429, &json!("client_overrun")));
    assert_eq!(refused.count(), crate::api::MAX_PAGES / 4);
    assert_eq!(api.send("GET", &path, "").await.0, 200);
}

#[tokio::test]
async fn the_log_is_read_as_lines_and_as_events() {
    let api = known().await;
    let lines = text(&api, "application/x-ndjson", "ignored").await;
    let lines = lines
        .lines()
        .map(|it| serde_json::from_str::<Value>(it).unwrap());
    let offsets: Vec<_> = lines.map(|it| it["offset"].as_i64().unwrap()).collect();
    assert_eq!(offsets, [0, 1, 2, 3, 4]);

    let events = text(&api, "text/event-stream", "c1_9_3").await;
    assert!(
        events.starts_with("retry: 1000\n\nid: c1_9_4\nevent: change\ndata: {"),
        "{events}"
    );
    assert_eq!(events.matches("\n\n").count(), 3, "{events}");
}

#[tokio::test]
async fn an_unknown_stream_or_place_is_refused() {
    let api = known().await;
    for (path, status) in [
        ("?streams=deals", 404),
        ("?streams=", 400),
        ("?after=c2", 400),
        ("?limit=1001", 400),
        ("?streams=contacts", 200),
    ] {
        let path = format!("{PATH}{path}");
        assert_eq!(api.send("GET", &path, "").await.0, status, "{path}");
    }
}

#[tokio::test]
async fn the_log_of_a_connection_that_never_ran_is_empty() {
    let api = Fixture::new();
    api.send("PUT", "/v1/connections/default", "").await;
    let (status, page) = api.send("GET", PATH, "").await;
    assert_eq!((status, &page["at_end"]), (200, &json!(true)), "{page}");
    assert_eq!(text(&api, "application/x-ndjson", "ignored").await, "");
}
