//! Questions in SQL over the API: what they may read, and what bounds them.

use harness::{HANG_LIMIT, Stack, eventually};
use serde_json::{Value, json};

/// Asks, and answers with the status and the body.
async fn ask(stack: &Stack, question: Value) -> (u16, Value) {
    let answer = stack.api().send("POST", "/v1/sql", Some(question)).await;
    (answer.status, answer.body)
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_read_what_people_may_see_and_nothing_else() {
    let stack = Stack::with(300, 20).start().await;
    stack.first_sync(json!({})).await;
    stack.matches_truth("contacts").await;
    let count = json!({"query": "SELECT count() AS n FROM hubspot.contacts"});
    let live = stack.simulator.portal().ids("contacts").len();
    eventually("all are counted", HANG_LIMIT, async || {
        let (status, answer) = ask(&stack, count.clone()).await;
        (status == 200 && answer["rows"] == json!([[live.to_string()]])).then_some(())
    })
    .await;
    let (_, answer) = ask(&stack, count).await;
    assert_eq!(answer["columns"], json!([{"name": "n", "type": "UInt64"}]));

    // Values are given apart from the query; what they contain is never SQL.
    let sql = stack.sql();
    let email = "SELECT any(email) FROM hubspot.contacts WHERE email != ''";
    let email = sql.query(email).await.trim().to_owned();
    let found = |value: &str| {
        json!({"query": "SELECT _object_id, email FROM hubspot.contacts WHERE email = {e:String}",
            "parameters": {"e": value}})
    };
    let (status, answer) = ask(&stack, found(&email)).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["rows"][0][1], json!(email));
    for odd in ["' OR 1 = 1 --", "a\tb\\n'\"", "ü\n"] {
        let (status, answer) = ask(&stack, found(odd)).await;
        assert_eq!(
            (status, &answer["rows"]),
            (200, &json!([])),
            "{odd}: {answer}"
        );
    }

    let list = json!({"query": "SELECT {l:Array(String)}[2], {n:UInt8} + 1",
        "parameters": {"l": "['a', 'b\\'c']", "n": "4"}});
    let (_, answer) = ask(&stack, list).await;
    assert_eq!(answer["rows"], json!([["b'c", 5]]), "{answer}");

    let many = json!({"query": "SELECT number FROM numbers(5000)", "limit": 3});
    let (_, cut) = ask(&stack, many).await;
    assert_eq!(cut["rows"].as_array().unwrap().len(), 3);
    assert_eq!(cut["is_cut"], true);
    let exactly = json!({"query": "SELECT number FROM numbers(3)", "limit": 3});
    assert_eq!(ask(&stack, exactly).await.1["is_cut"], false);

    let before = stack
        .sql()
        .query("SELECT count() FROM hubspot_raw.contacts")
        .await;
    for refused in [
        "SELECT * FROM hubspot_raw.contacts",
        "SELECT * FROM _hubspot_streams.warehouse",
        "INSERT INTO hubspot_raw.contacts (object_id) VALUES (1)",
        "DROP TABLE hubspot_raw.contacts",
        "CREATE USER guest",
        "SET readonly = 0",
        "SELECT 1 SETTINGS readonly = 0",
        "SELECT * FROM url('http://127.0.0.1:1/', CSV, 'a String')",
        "SELECT * FROM file('/etc/passwd', LineAsString)",
        "SELECT 1; SELECT 2",
        "SELECT 1 FORMAT CSV",
        "SELEC 1",
        "SELECT throwIf(1)",
        "SELECT repeat('x', 1000) FROM numbers(100000) SETTINGS max_result_bytes = 0, limit = 0",
    ] {
        let (status, answer) = ask(&stack, json!({"query": refused})).await;
        assert_eq!(
            (status, &answer["code"]),
            (422, &json!("query_refused")),
            "{refused}: {answer}"
        );
        assert!(!answer["detail"].as_str().unwrap().is_empty(), "{refused}");
    }
    let after = stack
        .sql()
        .query("SELECT count() FROM hubspot_raw.contacts")
        .await;
    assert_eq!(after, before);

    let request = harness::api::client()
        .post(format!("{}/v1/sql", stack.api().url()))
        .header("accept", "text/csv")
        .json(&json!({"query": "SELECT 1 AS a, 'x,y' AS b"}));
    let csv = request.send().await.unwrap().text().await.unwrap();
    assert_eq!(csv, "\"a\",\"b\"\n1,\"x,y\"\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_reading_user_questions_are_refused_with_the_remedy() {
    let stack = Stack::with(1, 1)
        .data_streams("CLICKHOUSE_READER_PASSWORD", "")
        .start()
        .await;
    let (status, answer) = ask(&stack, json!({"query": "SELECT 1"})).await;
    assert_eq!((status, &answer["code"]), (409, &json!("sql_disabled")));
}
