//! No text of a request becomes SQL; users for people can only read, and only
//! what is meant for them.

use std::net::TcpListener;

use harness::{ClickHouse, Stack};
use serde_json::json;

/// Texts with a meaning in SQL, paths or templates, and control characters.
const HOSTILE: [&str; 22] = [
    "'",
    "''",
    "\"",
    "`",
    "\\",
    "\\'",
    "'; DROP TABLE hubspot_raw.contacts; --",
    "contacts`; SELECT 1; --",
    "contacts__rebuild",
    "changes",
    "../../etc/passwd",
    "%",
    "?",
    "{x:String}",
    "$1",
    "a\nb",
    "a\0b",
    "\u{202e}",
    "名前",
    "1 OR 1=1",
    "(SELECT 1)",
    "system.tables",
];

fn encoded(text: &str) -> String {
    text.bytes()
        .fold(String::new(), |out, byte| format!("{out}%{byte:02X}"))
}

/// A random text of characters that break quoting, from a seed.
fn random(seed: u64) -> String {
    const PIECES: [&str; 14] = [
        "'", "`", "\\", ";", "--", "/*", "*/", "\n", "\0", " ", "UNION", "contacts", ")", "é",
    ];
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..8)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            PIECES[usize::try_from(state % 14).unwrap()]
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_text_of_a_request_becomes_sql() {
    let stack = Stack::with(50, 5).start().await;
    stack.first_sync(json!({})).await;
    stack.matches_truth("contacts").await;
    let http = harness::api::client();
    let texts: Vec<String> = HOSTILE
        .iter()
        .map(|text| (*text).to_owned())
        .chain((1..=60).map(random))
        .collect();
    for text in &texts {
        let text = encoded(text);
        let records = "/v1/connections/default/records";
        for path in [
            format!("/v1/connections/{text}"),
            format!("/v1/connections/{text}/records/contacts"),
            format!("{records}/{text}"),
            format!("{records}/contacts/{text}"),
            format!("{records}/contacts?properties={text}"),
            format!("{records}/contacts?properties=email,{text}"),
            format!("{records}/contacts?after={text}"),
            format!("{records}/contacts?ids={text}"),
            format!("{records}/contacts?limit={text}"),
            format!("{records}/contacts?archived={text}"),
            format!("{records}/contacts?updated_since={text}"),
            format!("{records}/contacts?{text}=1"),
            format!("/v1/dead-letters?limit={text}"),
            format!("/v1/warehouse/rebuild/{text}"),
        ] {
            let url = format!("{}{path}", stack.api().url());
            let answer = http.get(&url).send().await.unwrap();
            let status = answer.status().as_u16();
            let body = answer.text().await.unwrap();
            assert!(
                (400..500).contains(&status) || (status == 200 && path.contains("properties=")),
                "GET {path}: {status} {body}"
            );
            assert!(!body.contains("DB::Exception"), "GET {path}: {body}");
        }
    }
    // Names that reach ClickHouse through a command.
    for text in &texts {
        for body in [
            json!({"destination": text}),
            json!({"streams": [text]}),
            json!({"credential": text}),
        ] {
            let path = "/v1/connections/fuzzed";
            let answer = stack.api().send("PUT", path, Some(body.clone())).await;
            // Some of the texts are valid names.
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
            let allowed = text.chars().all(plain) && matches!(answer.status, 200 | 201);
            assert!(
                matches!(answer.status, 400 | 422) || allowed,
                "{body}: {} {}",
                answer.status,
                answer.body
            );
        }
    }
    stack.matches_truth("contacts").await;
    assert!(!stack.instances[0].process.output().contains("panicked"));
}

async fn assert_refused(user: &ClickHouse, statement: &str) {
    let answer = user.try_query(statement).await;
    let error = answer.expect_err(statement);
    assert!(error.contains("Exception"), "{statement}: {error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reader_cannot_write_read_files_or_reach_the_network() {
    let stack = Stack::with(50, 5).start().await;
    stack.first_sync(json!({})).await;
    stack.matches_truth("contacts").await;
    let reader = stack.sql_as_reader();
    assert!(reader.number("SELECT count() FROM hubspot.contacts").await > 0);

    // A connection to this listener would be one to the network.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    listener.set_nonblocking(true).unwrap();
    let secret = stack
        .folder()
        .join("clickhouse/users.xml")
        .display()
        .to_string();
    let outside = [
        format!("SELECT * FROM url('http://127.0.0.1:{port}/', 'LineAsString', 'l String')"),
        format!("SELECT * FROM s3('http://127.0.0.1:{port}/b/k', 'LineAsString', 'l String')"),
        format!("SELECT * FROM remote('127.0.0.1:{port}', 'system', 'one')"),
        format!("SELECT * FROM remoteSecure('127.0.0.1:{port}', 'system', 'one')"),
        format!("SELECT * FROM mysql('127.0.0.1:{port}', 'd', 't', 'u', 'p')"),
        format!("SELECT * FROM postgresql('127.0.0.1:{port}', 'd', 't', 'u', 'p')"),
        format!("SELECT * FROM mongodb('127.0.0.1:{port}', 'd', 't', 'u', 'p', 'x Int8')"),
        format!("SELECT * FROM redis('127.0.0.1:{port}', 'k', 'k String')"),
        format!("SELECT * FROM hdfs('hdfs://127.0.0.1:{port}/f', 'TSV', 'x Int8')"),
        format!("SELECT * FROM iceberg('http://127.0.0.1:{port}/b/k')"),
        format!("SELECT * FROM azureBlobStorage('http://127.0.0.1:{port}/a', 'c', 'b')"),
        format!("INSERT INTO FUNCTION url('http://127.0.0.1:{port}/', 'TSV', 'x Int8') VALUES (1)"),
        format!("SELECT * FROM file('{secret}', 'LineAsString', 'l String')"),
        "SELECT * FROM file('/etc/passwd', 'LineAsString', 'l String')".to_owned(),
        "SELECT * FROM fileCluster('c', '/etc/passwd', 'LineAsString', 'l String')".to_owned(),
        "SELECT * FROM executable('id', 'TSV', 'x String')".to_owned(),
        "SELECT * FROM sqlite('/tmp/x.db', 't')".to_owned(),
        "SELECT file('/etc/passwd')".to_owned(),
        "SELECT catboostEvaluate('/etc/passwd', 1)".to_owned(),
        "SELECT dictGet('d', 'a', 1)".to_owned(),
        "SELECT * FROM merge('hubspot_raw', '.*')".to_owned(),
        "SELECT count() FROM hubspot_raw.contacts".to_owned(),
        "SELECT count() FROM hubspot_raw.changes".to_owned(),
        "SELECT count() FROM `_hubspot_streams`.warehouse".to_owned(),
    ];
    let writes = [
        "INSERT INTO hubspot_raw.contacts (_object_id) VALUES (1)",
        "INSERT INTO hubspot.contacts (_object_id) VALUES (1)",
        "CREATE TABLE hubspot.t (x Int8) ENGINE = Memory",
        "CREATE TEMPORARY TABLE t (x Int8)",
        "CREATE DATABASE hubspot_x",
        "CREATE VIEW hubspot.v AS SELECT 1",
        "DROP VIEW hubspot.contacts",
        "DROP TABLE hubspot_raw.contacts",
        "TRUNCATE TABLE hubspot_raw.contacts",
        "ALTER TABLE hubspot_raw.contacts DELETE WHERE 1",
        "ALTER TABLE hubspot_raw.contacts ADD COLUMN x Int8",
        "OPTIMIZE TABLE hubspot_raw.contacts",
        "RENAME TABLE hubspot_raw.contacts TO hubspot_raw.c",
        "CREATE FUNCTION f AS x -> x",
        "CREATE USER u",
        "ALTER USER reader IDENTIFIED BY 'x'",
        "GRANT ALL ON *.* TO reader",
        "SYSTEM SHUTDOWN",
        "SYSTEM STOP MERGES hubspot_raw.contacts",
        "SYSTEM FLUSH LOGS",
        "KILL QUERY WHERE 1 SYNC",
        "SET readonly = 0",
        "SET max_execution_time = 100000",
        "SET max_execution_time = 0",
        "SET max_memory_usage = 0",
        "SELECT 1 SETTINGS readonly = 0",
        "BACKUP DATABASE hubspot TO Disk('d', 'b')",
        "ATTACH TABLE hubspot.t (x Int8) ENGINE = File(TSV)",
    ];
    for statement in outside.iter().map(String::as_str).chain(writes) {
        assert_refused(&reader, statement).await;
    }
    let connected = listener.accept();
    assert!(connected.is_err(), "a connection was made: {connected:?}");
    stack.matches_truth("contacts").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_default_user_reads_no_table_and_writes_nothing() {
    let stack = Stack::with(50, 5).start().await;
    stack.first_sync(json!({})).await;
    stack.matches_truth("contacts").await;
    for (user, password) in [("reader", ""), ("writer", ""), ("writer", "reader")] {
        let other = ClickHouse::new(stack.clickhouse.port, user, password);
        assert_refused(&other, "SELECT 1").await;
    }
    let default = ClickHouse::new(stack.clickhouse.port, "default", "");
    for statement in [
        "SELECT count() FROM hubspot.contacts",
        "SELECT count() FROM hubspot_raw.contacts",
        "SELECT count() FROM `_hubspot_streams`.warehouse",
        "SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString', 'l String')",
        "SELECT * FROM file('/etc/passwd', 'LineAsString', 'l String')",
        "INSERT INTO FUNCTION file('x', 'TSV', 'x Int8') VALUES (1)",
        "CREATE DATABASE x",
        "DROP TABLE hubspot_raw.contacts",
        "GRANT ALL ON *.* TO default",
    ] {
        assert_refused(&default, statement).await;
    }
}

/// A browser lets a page of another site read an answer only if the answer allows it,
/// and a setting in the address may not.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_site_can_read_no_answer_of_clickhouse() {
    let stack = Stack::with(5, 1).without_services().start().await;
    let password = stack.folder().join("clickhouse-reader-password");
    let password = std::fs::read_to_string(password).unwrap();
    let http = harness::api::client();
    let url = stack.sql().url().to_owned();
    for query in [
        format!("user=reader&password={password}&query=SELECT+1"),
        format!("user=reader&password={password}&query=SELECT+1&add_http_cors_header=1"),
        "query=SELECT+1&add_http_cors_header=1".to_owned(),
        "query=SELECT+1".to_owned(),
    ] {
        for method in ["GET", "OPTIONS"] {
            let answer = http
                .request(method.parse().unwrap(), format!("{url}/?{query}"))
                .header("origin", "https://example.com")
                .header("access-control-request-method", "POST")
                .send()
                .await
                .unwrap();
            let allowed = answer.headers().get("access-control-allow-origin");
            assert_eq!(allowed, None, "{method} {query}");
        }
    }
}

/// The stock configuration of the container's image has an answer that allows all.
#[test]
fn the_container_of_clickhouse_has_no_answer_for_pages_of_other_sites() {
    let read = |name: &str| std::fs::read_to_string(harness::servers::root().join(name)).unwrap();
    let removed = read("infra/clickhouse-config.xml");
    assert!(removed.contains(r#"<http_options_response remove="remove"/>"#));
    let mounted = "./clickhouse-config.xml:/etc/clickhouse-server/config.d/";
    assert!(read("infra/compose.yaml").contains(mounted));
}

/// Such a page can have a name of its own that leads to this machine, and may read what
/// its own name answers.
#[tokio::test(flavor = "multi_thread")]
async fn clickhouse_answers_only_to_names_of_this_machine() {
    let stack = Stack::with(5, 1).without_services().start().await;
    let url = format!("{}/?query=SELECT+1", stack.sql().url());
    for (host, expected) in [
        ("127.0.0.1:8123", 200),
        ("localhost", 200),
        ("rebound.example.com:8123", 404),
        ("127.0.0.1.example.com", 404),
    ] {
        let request = harness::api::client().get(&url).header("host", host);
        let status = request.send().await.unwrap().status();
        assert_eq!(status, expected, "{host}");
    }
}
