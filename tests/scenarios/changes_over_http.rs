//! The change log over HTTP has what the log in Kafka has, from any place on.

use harness::{HANG_LIMIT, Stack, api, log::Record, process::SHUTDOWN_LIMIT};
use serde_json::{Value, json};

const PATH: &str = "/v1/connections/default/changes";

/// Where a version is in the log, and what it says.
type Version = ((i32, i64), String, Value);

fn of_log(record: &Record) -> Version {
    let properties = json!(record.properties);
    (record.at, record.object_id.to_string(), properties)
}

fn of_http(version: &Value) -> Version {
    let number = |name: &str| version[name].as_i64().unwrap();
    let at = (
        i32::try_from(number("partition")).unwrap(),
        number("offset"),
    );
    let id = version["id"].as_str().unwrap().to_owned();
    (at, id, version["properties"].clone())
}

/// All pages from a place on, and the place after them.
async fn pages(stack: &Stack, mut after: String) -> (Vec<Version>, String) {
    let api = stack.api();
    let mut versions = Vec::new();
    loop {
        let page = api.get(&format!("{PATH}?limit=97&after={after}")).await;
        let results = page["results"].as_array().unwrap();
        versions.extend(results.iter().map(of_http));
        let next = page["paging"]["next"]["after"].as_str();
        next.unwrap().clone_into(&mut after);
        if page["at_end"] == true {
            return (versions, after);
        }
        assert!(!results.is_empty(), "a page ends early: {page}");
    }
}

/// Events from a place on.
struct Events {
    answer: reqwest::Response,
    text: String,
}

impl Events {
    async fn after(stack: &Stack, last: &str) -> Self {
        let request = api::client()
            .get(format!("{}{PATH}", stack.api().url()))
            .timeout(HANG_LIMIT)
            .header("accept", "text/event-stream")
            .header("last-event-id", last);
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        let text = String::new();
        Self { answer, text }
    }

    /// The next version, and the id of its event.
    async fn next(&mut self) -> (Value, String) {
        loop {
            while let Some(end) = self.text.find("\n\n") {
                let event: String = self.text.drain(..end + 2).collect();
                let field = |name: &str| {
                    let mut lines = event.lines();
                    lines
                        .find_map(|it| it.strip_prefix(name))
                        .map(str::to_owned)
                };
                let found = field("data: ").zip(field("id: "));
                if let Some((data, id)) = found {
                    return (serde_json::from_str(&data).unwrap(), id);
                }
            }
            let part = self
                .answer
                .chunk()
                .await
                .unwrap()
                .expect("the stream goes on");
            self.text.push_str(std::str::from_utf8(&part).unwrap());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_over_http_is_the_log_in_kafka_from_any_place_on() {
    let mut stack = Stack::with(400, 30).start().await;
    stack.first_sync(json!({})).await;
    stack.matches_truth("contacts").await;
    stack.matches_truth("companies").await;

    let mut expected: Vec<_> = stack.log().await.records.iter().map(of_log).collect();
    let (mut paged, end) = pages(&stack, "c1".to_owned()).await;
    let lines = stack.api().text(PATH, "application/x-ndjson").await;
    let lines = lines
        .lines()
        .map(|it| serde_json::from_str::<Value>(it).unwrap());
    let mut lines: Vec<_> = lines.map(|it| of_http(&it)).collect();
    for read in [&mut expected, &mut paged, &mut lines] {
        read.sort_by_key(|it| it.0);
    }
    assert_eq!(expected.len(), 430);
    assert!(paged == expected, "pages: {} versions", paged.len());
    assert!(lines == expected, "lines: {} versions", lines.len());
    let companies = format!("{PATH}?limit=1000&streams=companies");
    let companies = stack.api().get(&companies).await;
    assert_eq!(companies["results"].as_array().unwrap().len(), 30);

    // What comes later is sent as it is written, also after the instance has ended while
    // it sent events, or was killed.
    let portal = stack.simulator.portal();
    let ids = portal.ids("contacts");
    let mut last = end.clone();
    for (id, city) in [(ids[5], "Oslo"), (ids[6], "Bergen")] {
        let mut events = Events::after(&stack, &last).await;
        portal.update("contacts", id, &[("city", city)]).unwrap();
        stack.sync().await;
        let (version, after) = events.next().await;
        assert_eq!(version["id"], id.to_string());
        assert_eq!(version["properties"]["city"], city);
        assert_eq!(version["after"], after);
        last = after;
        if city == "Oslo" {
            stack.instances[0].process.terminate(SHUTDOWN_LIMIT);
        }
        stack.restart_data_streams(0);
        stack.api().ready().await;
    }
    let (later, after) = pages(&stack, end).await;
    // Of two partitions either may be read first.
    let mut changed: Vec<_> = later.iter().map(|it| it.1.clone()).collect();
    changed.sort();
    assert_eq!(changed, [ids[5].to_string(), ids[6].to_string()]);
    assert_eq!(after, last);
}
