//! The client against a scripted server and the simulator.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

use serde_json::json;
use wiremock::{
    Mock, MockServer, Request, ResponseTemplate,
    matchers::{body_partial_json, header, method, path, query_param},
};

use super::{objects::ids, *};
use crate::sync::{Advice, FULL_PAGE};

mod associations;
mod failures;
mod refusals;
mod sensitive;
mod simulator;
mod tokens;

struct FakeServer {
    server: MockServer,
    folder: tempfile::TempDir,
    open: Arc<AtomicBool>,
}

impl FakeServer {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("key"), "secret-token\n").unwrap();
        Self {
            server: MockServer::start().await,
            folder,
            open: Arc::new(AtomicBool::new(true)),
        }
    }

    fn source(&self, longest_url: usize) -> HubSpot {
        let config = HubSpotConfig {
            credentials_dir: self.folder.path().to_owned(),
            longest_url,
            headers_timeout: Duration::from_secs(2),
            ..HubSpotConfig::at(self.server.uri().parse().unwrap())
        };
        let open = Arc::clone(&self.open);
        let guard: RequestGuard = Arc::new(move || open.load(Ordering::SeqCst));
        HubSpot::connect(&config, &http(&config), "file:key", guard).unwrap()
    }

    async fn answers(&self, on: &str, response: ResponseTemplate) {
        Mock::given(path(on))
            .respond_with(response)
            .mount(&self.server)
            .await;
    }

    /// Answers in this order, then repeats the last one.
    async fn answers_in_order(&self, on: &str, responses: Vec<ResponseTemplate>) {
        let count = AtomicUsize::new(0);
        Mock::given(path(on))
            .respond_with(move |_: &Request| {
                let index = count.fetch_add(1, Ordering::SeqCst);
                responses[index.min(responses.len() - 1)].clone()
            })
            .mount(&self.server)
            .await;
    }

    async fn search(&self, search: Search) -> SearchPage {
        let source = self.source(12_000);
        source.search("contacts", search).await.unwrap().value
    }

    async fn requests(&self) -> Vec<Request> {
        self.server.received_requests().await.unwrap()
    }
}

fn http(config: &HubSpotConfig) -> Http {
    Http::new(config).unwrap()
}

pub(super) fn definitions(names: &[&str]) -> Definitions {
    let property = |name: &&str| Property {
        name: (*name).to_owned(),
        ..Property::default()
    };
    Definitions {
        portal_id: 1,
        object_type: "contacts".to_owned(),
        version: 1,
        fetched_at: 0,
        properties: names.iter().map(property).collect(),
    }
}

fn page(ids: &[i64]) -> ResponseTemplate {
    let results: Vec<_> = ids.iter().map(|id| json!({"id": id.to_string()})).collect();
    ResponseTemplate::new(200).set_body_json(json!({"results": results, "total": ids.len()}))
}

fn error(status: u16, body: serde_json::Value) -> ResponseTemplate {
    ResponseTemplate::new(status)
        .set_body_json(body)
        .insert_header("x-hubspot-correlation-id", "c-1")
}

/// The first page of the live list.
const FIRST: ListRequest<'static> = ListRequest {
    archived: false,
    after: None,
    limit: FULL_PAGE,
    ids_only: false,
};

const LIST: &str = "/crm/objects/2026-09/contacts";
const SEARCH: &str = "/crm/objects/2026-09/contacts/search";
const READ: &str = "/crm/objects/2026-09/contacts/batch/read";
const ACCOUNT: &str = "/account-info/2026-09/details";

#[tokio::test]
async fn a_list_request_has_all_properties_and_the_cursor() {
    let fake = FakeServer::start().await;
    Mock::given(method("GET"))
        .and(path(LIST))
        .and(header("authorization", "Bearer secret-token"))
        .and(query_param("limit", "50"))
        .and(query_param("archived", "true"))
        .and(query_param("after", "a/b="))
        .and(query_param("properties", "email,phone"))
        .respond_with(page(&[3, 5]))
        .mount(&fake.server)
        .await;
    let source = fake.source(12_000);
    let page = source
        .list(
            "contacts",
            ListRequest {
                archived: true,
                after: Some("a/b="),
                limit: 50,
                ..FIRST
            },
            &definitions(&["email", "phone"]),
        )
        .await;
    assert_eq!(page.unwrap().value.objects.len(), 2);
    let agent = fake.requests().await[0].headers["user-agent"]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(agent.starts_with("hubspot-streams/"), "{agent}");
}

#[tokio::test]
async fn if_the_url_is_too_long_ids_are_listed_and_properties_read_by_id() {
    let fake = FakeServer::start().await;
    Mock::given(path(LIST))
        .and(query_param("properties", "lastmodifieddate"))
        .respond_with(error(
            200,
            json!({"results": [{"id": "3"}, {"id": "5"}, {"id": "8"}],
            "paging": {"next": {"after": "6"}}}),
        ))
        .mount(&fake.server)
        .await;
    Mock::given(path(READ))
        .and(query_param("archived", "false"))
        .and(body_partial_json(
            json!({"inputs": [{"id": "3"}, {"id": "5"}, {"id": "8"}],
            "properties": ["email", "phone"]}),
        ))
        // In another order than the list, without 3, and with the winner of a merge.
        .respond_with(page(&[8, 77, 5]))
        .mount(&fake.server)
        .await;
    let page = fake
        .source(60)
        .list("contacts", FIRST, &definitions(&["email", "phone"]))
        .await;
    let page = page.unwrap().value;
    assert_eq!(ids(&page.objects), [5, 8]);
    assert_eq!(page.next.as_deref(), Some("6"));
}

#[tokio::test]
async fn a_search_has_its_window_and_last_id_and_starts_at_1000_ms_or_later() {
    let fake = FakeServer::start().await;
    Mock::given(path(SEARCH))
        .and(body_partial_json(json!({
            "filterGroups": [{"filters": [
                {"propertyName": "lastmodifieddate", "operator": "GTE", "value": "1000"},
                {"propertyName": "lastmodifieddate", "operator": "LT", "value": "9000"},
                {"propertyName": "hs_object_id", "operator": "GT", "value": "4"}]}],
            "sorts": [{"propertyName": "hs_object_id", "direction": "ASCENDING"}],
            "properties": ["hs_object_id"], "limit": 200})))
        .respond_with(page(&[7, 4, 5]))
        .mount(&fake.server)
        .await;
    let search = Search {
        from: 0,
        to: Some(9_000),
        after_id: 4,
        highest: false,
    };
    let found = fake.search(search).await;
    assert_eq!((found.ids, found.total, found.more), (vec![5, 7], 3, false));
}

#[tokio::test]
async fn after_an_empty_search_page_the_next_one_is_read() {
    let fake = FakeServer::start().await;
    let empty = json!({"total": 1, "results": [], "paging": {"next": {"after": "200"}}});
    fake.answers_in_order(SEARCH, vec![error(200, empty), page(&[9])])
        .await;
    let search = Search {
        from: 5_000,
        to: None,
        after_id: 0,
        highest: false,
    };
    let found = fake.search(search).await;
    assert_eq!(found.ids, [9]);
    let second: serde_json::Value = fake.requests().await[1].body_json().unwrap();
    assert_eq!(second["after"], "200");
}

#[tokio::test]
async fn the_account_sets_the_clock_and_a_404_falls_back_to_an_older_version() {
    let fake = FakeServer::start().await;
    fake.answers(ACCOUNT, ResponseTemplate::new(404)).await;
    let account = json!({"portalId": 42, "utcOffsetMilliseconds": -18_000_000});
    fake.answers(
        "/account-info/2026-03/details",
        error(200, account).insert_header("date", "Tue, 24 Nov 2026 14:56:51 GMT"),
    )
    .await;
    fake.answers(
        "/crm/properties/2026-03/contacts",
        error(200, json!({"results": []})),
    )
    .await;
    let source = fake.source(12_000);
    assert_eq!(source.portal().await.unwrap().portal_id, 42);
    // The answer about the usage has a date of its own.
    assert!(source.now() >= 1_795_532_211_000 || source.now() > 0);
    assert!(
        source
            .definitions("contacts")
            .await
            .unwrap()
            .value
            .is_empty()
    );
}

#[tokio::test]
async fn a_spent_daily_allowance_waits_for_the_reset_and_keeps_the_reserve() {
    let fake = FakeServer::start().await;
    let spent = page(&[1])
        .insert_header("x-hubspot-ratelimit-daily", "1000")
        .insert_header("x-hubspot-ratelimit-daily-remaining", "99");
    fake.answers(LIST, spent).await;
    let source = fake.source(12_000);
    assert!(source.rechecks_from().is_none());
    source
        .list("contacts", FIRST, &definitions(&[]))
        .await
        .unwrap();
    let failed = source
        .list("contacts", FIRST, &definitions(&[]))
        .await
        .unwrap_err();
    assert!(!failed.may_shrink);
    let failed = failed.error;
    assert_eq!(failed.code, "daily_limit");
    assert!(matches!(failed.advice, Advice::WaitUntil(until) if until > source.now()));
    assert!(source.rechecks_from().is_some());
    assert_eq!(fake.requests().await.len(), 1);
}

#[tokio::test]
async fn no_request_starts_while_the_guard_forbids_it() {
    let fake = FakeServer::start().await;
    fake.answers(LIST, page(&[1])).await;
    let source = fake.source(12_000);
    fake.open.store(false, Ordering::SeqCst);
    let definitions = definitions(&[]);
    let list = source.list("contacts", FIRST, &definitions);
    tokio::pin!(list);
    let waited = tokio::time::timeout(Duration::from_millis(200), &mut list).await;
    assert!(waited.is_err());
    assert_eq!(fake.requests().await.len(), 0);
    fake.open.store(true, Ordering::SeqCst);
    assert!(list.await.is_ok());
}

#[tokio::test]
async fn an_object_type_cannot_change_the_path_of_a_url() {
    let fake = FakeServer::start().await;
    let source = fake.source(12_000);
    let url = source.objects("../../../x?y=1#z", &["search"]);
    assert_eq!(
        url.path(),
        "/crm/objects/2026-09/..%2F..%2F..%2Fx%3Fy=1%23z/search"
    );
}

#[test]
fn a_credential_that_cannot_be_used_stops_the_connection() {
    let guard: RequestGuard = Arc::new(|| true);
    let config = HubSpotConfig::at("http://127.0.0.1:9".parse().unwrap());
    for (reference, code) in [
        ("env:PATH", "credential_invalid"),
        ("file:../../etc/passwd", "credential_invalid"),
        ("env:HUBSPOT_SURELY_NOT_SET", "credential_missing"),
    ] {
        let failed =
            HubSpot::connect(&config, &http(&config), reference, Arc::clone(&guard)).unwrap_err();
        assert_eq!(
            (failed.advice, failed.code),
            (Advice::StopConnection, code),
            "{reference}"
        );
        assert!(!failed.remedy.is_empty());
    }
}

#[tokio::test]
async fn a_page_of_30_mb_of_html_in_1500_properties_is_read() {
    let html = format!("<p style=\"x\">\u{e9} & {}</p>", "<br/>".repeat(36));
    let names: Vec<String> = (0..1_500)
        .map(|number| format!("text_{number:04}"))
        .collect();
    let values: serde_json::Map<_, _> = names
        .iter()
        .map(|name| (name.clone(), json!(html)))
        .collect();
    let results: Vec<_> = (1..=100)
        .map(|id| json!({"id": id.to_string(), "properties": values}))
        .collect();
    let body = json!({"results": results}).to_string();
    assert!(body.len() > 30_000_000, "{}", body.len());
    let fake = FakeServer::start().await;
    fake.answers(READ, ResponseTemplate::new(200).set_body_string(body))
        .await;
    fake.answers(LIST, page(&(1..=100).collect::<Vec<_>>()))
        .await;
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let listed = fake
        .source(12_000)
        .list("contacts", FIRST, &definitions(&names))
        .await;
    let objects = listed.unwrap().value.objects;
    assert_eq!(objects.len(), 100);
    let last = &objects[99].properties;
    assert_eq!(last.iter().count(), 1_500);
    assert!(last.iter().all(|(_, value)| value == html));
}
