//! The routes of records, and servers that do not answer.

use super::*;

#[tokio::test]
async fn records_are_read_completely_in_pages_and_as_lines() {
    let api = Fixture::new();
    api.send("PUT", "/v1/connections/default", "").await;
    let mut ids = Vec::new();
    let mut after = String::new();
    let mut linked = None;
    loop {
        let path = format!("/v1/connections/default/records/contacts?limit=999{after}");
        let (status, page) = api.send("GET", &path, "").await;
        assert_eq!(status, 200);
        let path = linked.unwrap_or(path);
        let request = Request::get(&path).body(Body::empty()).unwrap();
        let answer = api.raw(request).await;
        let link = answer.headers().get(header::LINK);
        let link = link.map(|it| it.to_str().unwrap().to_owned());
        linked = link.map(|it| it.trim_start_matches('<').replace(">; rel=\"next\"", ""));
        let bytes = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(serde_json::from_slice::<Value>(&bytes).unwrap(), page);
        assert_eq!(linked.is_some(), page["paging"].is_object());
        for record in page["results"].as_array().unwrap() {
            assert_eq!(record["updated_at"], "2026-11-24T14:00:00.123Z");
            ids.push(record["id"].as_str().unwrap().parse::<u64>().unwrap());
        }
        let Some(next) = page["paging"]["next"]["after"].as_str() else {
            break;
        };
        after = format!("&after={next}");
    }
    assert_eq!(ids, (1..=RECORDS).collect::<Vec<_>>());

    let request = Request::get("/v1/connections/default/records/contacts")
        .header(header::ACCEPT, "application/x-ndjson")
        .body(Body::empty())
        .unwrap();
    let bytes = api
        .raw(request)
        .await
        .into_body()
        .collect()
        .await
        .unwrap()
        .to_bytes();
    let lines: Vec<Value> = bytes
        .split(|it| *it == b'\n')
        .filter_map(|it| serde_json::from_slice(it).ok())
        .collect();
    assert_eq!(lines.len(), 2_500);
    assert_eq!(lines[2_499]["properties"]["age"], 2_500);
}

#[tokio::test]
async fn the_versions_of_a_record_are_paged_newest_first() {
    let api = Fixture::new();
    api.send("PUT", "/v1/connections/default", "").await;
    let path = "/v1/connections/default/records/contacts/7/history?limit=2";
    let (status, page) = api.send("GET", path, "").await;
    assert_eq!(status, 200);
    let changed = |page: &Value| page["results"][1]["changed"].clone();
    assert_eq!(changed(&page), json!({"age": {"from": "1", "to": "2"}}));
    let newest = &page["results"][0];
    assert_eq!(newest["updated_at"], "2026-11-24T14:00:00.123Z");
    assert_eq!(
        (&newest["partition"], &newest["offset"]),
        (&json!(3), &json!(41))
    );
    let after = page["paging"]["next"]["after"].as_str().unwrap();
    let (_, last) = api.send("GET", &format!("{path}&after={after}"), "").await;
    let first_version = json!({"age": {"from": null, "to": "1"}});
    assert_eq!(last["results"][0]["changed"], first_version);
    assert!(last["paging"].is_null(), "{last}");
    for (path, status) in [
        ("contacts/2501/history", 404),
        ("contacts/x/history", 404),
        ("deals/7/history", 404),
        ("contacts/7/history?limit=0", 400),
        ("contacts/7/history?after=v1", 400),
        ("contacts/7/history?properties=age", 400),
    ] {
        let path = format!("/v1/connections/default/records/{path}");
        assert_eq!(api.send("GET", &path, "").await.0, status, "{path}");
    }
}

#[tokio::test]
async fn a_record_stream_above_the_limit_is_refused_with_retry_after() {
    let api = Fixture::new();
    api.send("PUT", "/v1/connections/default", "").await;
    let lines = || {
        Request::get("/v1/connections/default/records/contacts")
            .header(header::ACCEPT, "application/x-ndjson")
            .body(Body::empty())
            .unwrap()
    };
    let held = api.raw(lines()).await;
    let refused = api.raw(lines()).await;
    assert_eq!(refused.status(), 429);
    assert!(refused.headers().contains_key(header::RETRY_AFTER));
    drop(held);
    assert_eq!(api.raw(lines()).await.status(), 200);
}

#[tokio::test]
async fn one_client_cannot_take_all_record_streams() {
    let api = Fixture::with(|it| it.max_streams = 8, NumberedRecords { away: false });
    api.send("PUT", "/v1/connections/default", "").await;
    let lines = async |peer: [u8; 4]| {
        let peer = ConnectInfo(SocketAddr::from((peer, 1_000)));
        let request = Request::get("/v1/connections/default/records/contacts")
            .header(header::ACCEPT, "application/x-ndjson")
            .extension(peer)
            .body(Body::empty())
            .unwrap();
        api.raw(request).await
    };
    let mut held = Vec::new();
    let refused = loop {
        let response = lines([10, 0, 0, 1]).await;
        match response.status().as_u16() {
            200 => held.push(response),
            _ => break response,
        }
    };
    assert_eq!(held.len(), 6);
    assert_eq!(refused.status(), 429);
    assert!(refused.headers().contains_key(header::RETRY_AFTER));
    let body = refused.into_body().collect().await.unwrap().to_bytes();
    let problem: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(problem["code"], "client_overrun");
    assert_eq!(lines([10, 0, 0, 2]).await.status(), 200);
    held.pop();
    assert_eq!(lines([10, 0, 0, 1]).await.status(), 200);
}

#[tokio::test]
async fn records_come_as_csv_and_a_failure_before_the_first_has_its_status() {
    for (away, status, text) in [(false, 200, "id\n1\n"), (true, 503, "")] {
        let api = Fixture::with(|_| {}, NumberedRecords { away });
        api.send("PUT", "/v1/connections/default", "").await;
        let request = Request::get("/v1/connections/default/records/contacts")
            .header(header::ACCEPT, "text/csv")
            .body(Body::empty())
            .unwrap();
        let response = api.raw(request).await;
        assert_eq!(response.status(), status);
        if status == 200 {
            let bytes = response.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(bytes, text);
        }
    }
}

#[tokio::test]
async fn a_server_that_does_not_answer_gives_503_with_retry_after() {
    let api = Fixture::with(|_| {}, NumberedRecords { away: true });
    api.send("PUT", "/v1/connections/default", "").await;
    let request = Request::get("/v1/connections/default/records/contacts")
        .body(Body::empty())
        .unwrap();
    let response = api.raw(request).await;
    assert_eq!(response.status(), 503);
    assert!(response.headers().contains_key(header::RETRY_AFTER));
    *api.log.away.lock().unwrap() = true;
    let (status, problem) = api.send("POST", "/v1/connections/default/start", "").await;
    assert_eq!(
        (status, problem["code"].as_str()),
        (503, Some("kafka_unavailable"))
    );
}

/// Each reading takes all dead letters through memory, also for a caller that has hung
/// up.
#[tokio::test(start_paused = true)]
async fn the_dead_letters_are_read_for_one_request_at_a_time() {
    let api = Fixture::new();
    let list = || api.send("GET", "/v1/dead-letters", "");
    let hung_up = tokio::time::timeout(Duration::from_millis(1), list());
    assert!(hung_up.await.is_err());
    for (method, path) in [
        ("GET", "/v1/dead-letters"),
        ("POST", "/v1/dead-letters/reprocess"),
    ] {
        let (status, body) = api.send(method, path, "").await;
        assert_eq!((status, &body["code"]), (429, &json!("overrun")), "{path}");
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(list().await.0, 200);
}
