//! Secrets are in no topic, answer, metric or log, values of records only in
//! records, and the API serves authorized callers only.

use std::{
    collections::BTreeMap,
    io::Read as _,
    sync::atomic::{AtomicUsize, Ordering},
};

use harness::{
    HANG_LIMIT, Stack, eventually,
    log::read_topic,
    stack::{self, TOKEN},
};
use hubspot_sim::{Definition, Fault, FaultBody, Kind, Rule};
use serde_json::json;

use crate::changing_records;

/// A value of properties, to be found in records only.
const CANARY: &str = "canary-7f3a9c51";
const CLIENT_SECRET: &str = "client-secret-51fe0b77";
const REFRESH_TOKEN: &str = "refresh-token-93ab2c10";
const API_TOKEN: &str = "api-token-2d44e0aa";
const SECRETS: [&str; 4] = [TOKEN, CLIENT_SECRET, REFRESH_TOKEN, API_TOKEN];

/// The texts of a running system, by the place where they were found.
type Places = BTreeMap<String, Vec<u8>>;

fn found(places: &Places, needle: &str) -> Vec<String> {
    let holds = |text: &[u8]| text.windows(needle.len()).any(|it| it == needle.as_bytes());
    places
        .iter()
        .filter(|(_, text)| holds(text))
        .map(|(place, _)| place.clone())
        .collect()
}

fn logs(stack: &Stack, places: &mut Places) {
    let servers = stack.servers();
    let mut files = vec![
        servers.kafka_folder().join("server.log"),
        servers.registry_folder().join("server.log"),
        stack.folder().join("clickhouse/server.log"),
    ];
    for entry in std::fs::read_dir(stack.folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|it| it == "log") {
            files.push(path);
        }
    }
    for file in files {
        let mut text = Vec::new();
        let mut open = std::fs::File::open(&file).unwrap();
        open.read_to_end(&mut text).unwrap();
        places.insert(format!("log {}", file.display()), text);
    }
}

/// Adds the messages of every topic.
async fn topics(stack: &Stack, of_records: &mut Places, others: &mut Places) {
    for name in [
        "commands",
        "records",
        "checkpoints",
        "status",
        "definitions",
        "dead-letters",
    ] {
        let mut bytes = Vec::new();
        for message in read_topic(stack.servers(), &stack.topic(name)).await {
            bytes.extend(message.key.as_bytes());
            bytes.extend(message.value.unwrap_or_default());
        }
        let places = if matches!(name, "records" | "dead-letters") {
            &mut *of_records
        } else {
            &mut *others
        };
        places.insert(format!("topic {name}"), bytes);
    }
}

async fn tables(stack: &Stack, of_records: &mut Places, others: &mut Places) {
    let sql = stack.sql();
    // Views as of a time want the time, and read what those of versions read.
    let list = "SELECT database, name FROM system.tables WHERE database NOT IN \
                ('system', 'INFORMATION_SCHEMA', 'information_schema') AND name NOT LIKE '%\\_at' \
                FORMAT TSV";
    for line in sql.query(list).await.lines() {
        let (database, table) = line.split_once('\t').unwrap();
        let rows = sql
            .query(&format!("SELECT * FROM `{database}`.`{table}` FORMAT TSV"))
            .await;
        let places = if database.starts_with("hubspot") {
            &mut *of_records
        } else {
            &mut *others
        };
        places.insert(format!("table {database}.{table}"), rows.into_bytes());
    }
    for table in [
        "errors",
        "warnings",
        "settings",
        "server_settings",
        "metrics",
        "events",
    ] {
        if let Ok(rows) = sql
            .try_query(&format!("SELECT * FROM system.{table} FORMAT TSV"))
            .await
        {
            others.insert(format!("table system.{table}"), rows.into_bytes());
        }
    }
}

async fn answers(stack: &Stack, of_records: &mut Places, others: &mut Places) {
    let http = harness::api::client();
    let api = stack.api();
    let requests = [
        ("GET", "/v1/connections", ""),
        ("GET", "/v1/connections/default", ""),
        ("GET", "/v1/connections/app", ""),
        ("GET", "/v1/connections/nobody", ""),
        (
            "PUT",
            "/v1/connections/x",
            r#"{"credential":"pat-na1-pasted-by-mistake"}"#,
        ),
        ("PUT", "/v1/connections/x", "{"),
        ("GET", "/v1/warehouse/rebuild", ""),
        ("GET", "/openapi.json", ""),
        ("GET", "/", ""),
        ("GET", "/metrics", ""),
        ("GET", "/health/ready", ""),
        ("GET", "/nowhere", ""),
        (
            "GET",
            "/v1/connections/default/records/contacts?limit=1000",
            "",
        ),
        ("GET", "/v1/dead-letters", ""),
    ];
    for (method, path, body) in requests {
        let answer = http
            .request(method.parse().unwrap(), format!("{}{path}", api.url()))
            .header("authorization", format!("Bearer {API_TOKEN}"))
            .body(body)
            .send()
            .await
            .unwrap();
        let text = format!(
            "{:?}{}",
            answer.headers().clone(),
            answer.text().await.unwrap()
        );
        assert!(
            !text.contains("pasted-by-mistake"),
            "{method} {path}: {text}"
        );
        let places = if path.contains("/records/") {
            &mut *of_records
        } else {
            &mut *others
        };
        places.insert(format!("answer {method} {path} {body}"), text.into_bytes());
    }
    for port in &stack.worker_ports {
        for path in ["metrics", "health/ready"] {
            let url = format!("http://127.0.0.1:{port}/{path}");
            let text = http.get(&url).send().await.unwrap().text().await.unwrap();
            others.insert(format!("answer {url}"), text.into_bytes());
        }
    }
}

/// Causes errors of every kind: values that do not fit their type, failed
/// requests, an undecodable message.
async fn cause_errors(stack: &Stack) {
    let portal = stack.simulator.portal();
    portal
        .define_property("contacts", Definition::new("age", "number", "number"))
        .unwrap();
    let ids = portal.ids("contacts");
    let planted = [("jobtitle", CANARY), ("age", CANARY), ("city", CANARY)];
    portal.bulk("contacts", &ids[..20], &planted).unwrap();
    let faults = stack.simulator.faults();
    for fault in [
        Fault::Reset,
        Fault::CutBody { after: 3_000 },
        Fault::NotJson,
        Fault::Status {
            code: 500,
            body: FaultBody::Html,
            retry_after: None,
        },
    ] {
        faults.push(Rule::next(Kind::List, fault));
    }
    let undecodable = format!("undecodable, with {CANARY} in it").into_bytes();
    stack
        .servers()
        .produce(
            &stack.topic("records"),
            vec![("1/contacts/1".to_owned(), Some(undecodable))],
        )
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_leaks_and_record_values_stay_in_records() {
    let credential = json!({
        "client_id": "app", "client_secret": CLIENT_SECRET, "refresh_token": REFRESH_TOKEN,
    });
    let mut stack = Stack::with(300, 20)
        .another_portal(hubspot_sim::PortalConfig {
            portal_id: 4_711_002,
            tokens: Vec::new(),
            oauth: Some(hubspot_sim::OAuthConfig {
                client_id: "app".to_owned(),
                client_secret: CLIENT_SECRET.to_owned(),
                refresh_token: REFRESH_TOKEN.to_owned(),
                rotate: false,
                expires_in_s: 1_800,
            }),
            ..hubspot_sim::PortalConfig::default()
        })
        .credential("app.json", &credential.to_string())
        .data_streams("RUST_LOG", "debug")
        .worker("RUST_LOG", "debug")
        .start()
        .await;
    cause_errors(&stack).await;
    stack.first_sync(json!({})).await;
    let api = stack.api();
    api.start(
        "app",
        json!({"credential": "file:app.json", "streams": ["contacts"]}),
    )
    .await;
    api.until("the app's portal is read", "app", HANG_LIMIT, |it| {
        !harness::api::stream(it, "contacts")["last_success"].is_null()
    })
    .await;
    api.start("lost", json!({"credential": "file:missing.json"}))
        .await;
    api.until(
        "the missing credential is reported",
        "lost",
        HANG_LIMIT,
        |it| it["observed"]["state"] == "failed",
    )
    .await;
    stack.matches_truth("contacts").await;
    stack.clickhouse.restart();
    tokio::task::block_in_place(|| harness::servers::wait_until_ready(&mut stack.clickhouse));
    changing_records::complete_a_run(&stack).await;
    stack.simulator.revoke_token(TOKEN);
    api.sync("default").await;
    api.until("the refusal is shown", "default", HANG_LIMIT, |it| {
        it["observed"]["error"]["code"] == "unauthorized"
    })
    .await;
    stack.add_data_streams_with(&[("API_TOKEN", API_TOKEN)]);
    stack.api().ready().await;

    let (mut of_records, mut others) = (Places::new(), Places::new());
    logs(&stack, &mut others);
    topics(&stack, &mut of_records, &mut others).await;
    tables(&stack, &mut of_records, &mut others).await;
    answers(&stack, &mut of_records, &mut others).await;
    // The search works: it finds the value in the records.
    assert!(
        found(&of_records, CANARY).len() >= 4,
        "{:?}",
        found(&of_records, CANARY)
    );
    assert_eq!(found(&others, CANARY), Vec::<String>::new());
    for secret in SECRETS {
        assert_eq!(found(&others, secret), Vec::<String>::new(), "{secret}");
        assert_eq!(found(&of_records, secret), Vec::<String>::new(), "{secret}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_on_a_public_address_requires_a_token() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("data-streams.log");
    let variables = [("API_ADDRESS".to_owned(), "0.0.0.0:0".to_owned())];
    let mut process = stack::service("data-streams", &variables, &log);
    let output = process.until_failed(HANG_LIMIT);
    assert!(output.contains("API_TOKEN"), "{output}");
}

/// A slow caller is refused after a time; others are served meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_sent_too_slowly_is_refused_and_blocks_no_other_request() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let stack = Stack::with(10, 1)
        .data_streams("API_MAX_REQUESTS", "2")
        .start()
        .await;
    let port = stack.instances[0].port;
    let answered = AtomicUsize::new(0);
    let slow = async {
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port))
            .await
            .unwrap();
        let head =
            "PUT /v1/connections/a HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\n{";
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = vec![0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        answered.fetch_add(1, Ordering::Relaxed);
        String::from_utf8(answer).unwrap()
    };
    let (answer, ()) = tokio::join!(slow, async {
        let api = stack.api();
        eventually("others are answered", HANG_LIMIT, async || {
            (api.send("GET", "/v1/connections", None).await.status == 200).then_some(())
        })
        .await;
        assert_eq!(
            answered.load(Ordering::Relaxed),
            0,
            "the slow body is not refused yet"
        );
    });
    assert_eq!(answer, "HTTP/1.1 408");
}

#[tokio::test(flavor = "multi_thread")]
async fn methods_that_callers_invent_are_one_series_of_metrics() {
    let stack = Stack::with(10, 1)
        .data_streams("API_TOKEN", API_TOKEN)
        .start()
        .await;
    let http = harness::api::client();
    let url = |path: &str| format!("{}{path}", stack.api().url());
    for method in ["INVENTED", "INVENTED-TOO"] {
        let request = http.request(method.parse().unwrap(), url("/v1/connections"));
        // The token is asked for first.
        assert_eq!(request.send().await.unwrap().status(), 401);
    }
    let metrics = http.get(url("/metrics")).bearer_auth(API_TOKEN);
    let metrics = metrics.send().await.unwrap().text().await.unwrap();
    assert!(!metrics.contains("INVENTED"), "{metrics}");
    assert!(metrics.contains(r#"method="other""#), "{metrics}");
}
