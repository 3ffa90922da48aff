//! Traces: from a request of the API over Kafka to the requests to HubSpot, and over Kafka
//! to the insert; and nothing waits for them.

use std::{collections::HashSet, time::Duration};

use harness::{
    CollectedSpan, Collector, HANG_LIMIT, Stack, StackBuilder, eventually, servers::free_port,
    stack::TOKEN,
};
use serde_json::json;

const LOGIN: &str = "Bearer collector-login-secret";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// A system whose services send their spans there soon, with the login.
fn traced(contacts: u32, endpoint: &str) -> StackBuilder {
    let login = format!("authorization={}", LOGIN.replace(' ', "%20"));
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
        ("OTEL_EXPORTER_OTLP_HEADERS", &login),
        ("OTEL_BSP_SCHEDULE_DELAY", "100"),
    ];
    let builder = Stack::with(contacts, 10);
    variables.into_iter().fold(builder, |it, (name, value)| {
        it.worker(name, value).data_streams(name, value)
    })
}

/// The chain of spans with these names, the first of which has this parent.
fn chain<'a>(
    spans: &'a [CollectedSpan],
    parent: &str,
    names: &[&str],
) -> Option<Vec<&'a CollectedSpan>> {
    let Some((name, rest)) = names.split_first() else {
        return Some(Vec::new());
    };
    spans
        .iter()
        .filter(|it| it.parent == parent && it.name == *name)
        .find_map(|it| {
            let mut found = vec![it];
            found.extend(chain(spans, &it.id, rest)?);
            Some(found)
        })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_leads_from_a_request_of_the_api_to_hubspot_and_to_the_insert() {
    let collector = Collector::start(LOGIN).await;
    let mut stack = traced(250, &collector.endpoint()).start().await;
    stack.keep_secret("collector-login-secret");
    let url = format!("{}/v1/connections/default/start", stack.api().url());
    let caller = "b7ad6b7169203331";
    let started = harness::api::client()
        .post(url)
        .header("traceparent", format!("00-{TRACE}-{caller}-01"))
        .send()
        .await
        .unwrap();
    assert_eq!(started.status(), 201);

    let command = [
        "POST /v1/connections/{name}/start",
        "write a command",
        "receive a command",
        "run backfill contacts",
    ];
    let to_hubspot = [&command[..], &["hubspot list"]].concat();
    let to_the_insert = [&command[..], &["commit", "insert"]].concat();
    let (request, inserted) = eventually("both ends of the trace", HANG_LIMIT, async || {
        let spans = collector.spans();
        let request = chain(&spans, caller, &to_hubspot)?;
        let inserted = chain(&spans, caller, &to_the_insert)?;
        let cloned = |it: Vec<&CollectedSpan>| it.into_iter().cloned().collect::<Vec<_>>();
        Some((cloned(request), cloned(inserted)))
    })
    .await;
    let services = |spans: &[CollectedSpan]| {
        let services = spans.iter().map(|it| it.service.clone());
        services.collect::<Vec<_>>()
    };
    let expected = ["data-streams", "data-streams", "worker", "worker", "worker"];
    assert_eq!(services(&request), expected);
    assert_eq!(services(&inserted)[4..], ["worker", "data-streams"]);
    for span in request.iter().chain(&inserted) {
        assert_eq!(span.trace_id, TRACE, "{span:?}");
        assert!(!span.failed, "{span:?}");
    }
    let list = &request[4].attributes;
    assert_eq!(list["http.response.status_code"], "200");
    assert!(list["url.path"].ends_with("/contacts"), "{list:?}");
    assert_eq!(request[0].attributes["http.response.status_code"], "201");

    // What nobody traced begins a trace; a run that was asked for is of the asking one.
    let api = stack.api();
    let asked = api.send("POST", "/v1/connections/default/sync", None).await;
    let asked = asked.body["request_id"].as_str().unwrap().to_owned();
    let run = eventually("the trace of the request's run", HANG_LIMIT, async || {
        let spans = collector.spans();
        let [asking] = chain(&spans, "", &["POST /v1/connections/{name}/sync"])?[..] else {
            return None;
        };
        let of_request = |it: &&CollectedSpan| {
            it.attributes.get("request_id") == Some(&asked) && it.trace_id == asking.trace_id
        };
        spans.iter().find(of_request).cloned()
    })
    .await;
    assert_eq!(run.attributes["outcome"], "succeeded");

    // No values of objects, no secrets, no trace of who polls.
    let spans = collector.spans();
    let text = format!("{spans:?}");
    for secret in [TOKEN, LOGIN, "@", "/health/"] {
        assert!(!text.contains(secret), "{secret}");
    }
    let ids: HashSet<_> = spans.iter().map(|it| &it.id).collect();
    assert_eq!(ids.len(), spans.len(), "each span is sent once");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_waits_for_a_collector_that_is_away() {
    let away = format!("http://127.0.0.1:{}", free_port());
    let mut stack = traced(150, &away).start().await;
    stack.first_sync(json!({})).await;
    stack.matches_truth("contacts").await;
    let said = "traces cannot be sent";
    let logs = ["worker-1.log", "data-streams-1.log"].map(|it| stack.folder().join(it));
    let count = |path: &std::path::Path| {
        let text = std::fs::read_to_string(path).unwrap();
        text.matches(said).count()
    };
    eventually("both say once that it is away", HANG_LIMIT, async || {
        logs.iter().all(|it| count(it) == 1).then_some(())
    })
    .await;
    let ended = stack.first_worker().end(Duration::from_secs(10));
    assert!(ended.success(), "{ended}");
    for log in &logs {
        assert_eq!(count(log), 1, "{}", log.display());
    }
}
