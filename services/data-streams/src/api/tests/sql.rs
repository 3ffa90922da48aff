//! The route for questions in SQL.

use super::*;

const QUESTION: &str = r#"{"query":"SELECT 1","limit":7}"#;

#[tokio::test]
async fn rows_come_as_json_or_as_csv() {
    let api = Fixture::new();
    let (status, answer) = api.send("POST", "/v1/sql", QUESTION).await;
    let expected = json!({
        "columns": [{"name": "limit", "type": "UInt64"}],
        "rows": [[7]],
        "is_cut": false,
        "elapsed_ms": 7,
    });
    assert_eq!((status, answer), (200, expected));
    let request = Request::post("/v1/sql")
        .header(header::ACCEPT, "text/csv")
        .body(QUESTION.into())
        .unwrap();
    let response = api.raw(request).await;
    assert!(
        response.headers()[header::CONTENT_TYPE]
            .as_bytes()
            .starts_with(b"text/csv")
    );
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(&bytes[..], b"limit\n7\n");
}

#[tokio::test]
async fn without_a_user_for_them_questions_are_refused_with_the_remedy() {
    let api = Fixture::with(|_| {}, NumberedRecords { away: true });
    let (status, problem) = api.send("POST", "/v1/sql", QUESTION).await;
    assert_eq!((status, &problem["code"]), (409, &json!("sql_disabled")));
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("CLICKHOUSE_READER_PASSWORD"), "{detail}");
}
