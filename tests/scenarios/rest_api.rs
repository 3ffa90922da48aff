//! The REST API: refused requests, and paging over stored records.

use harness::{Api, HANG_LIMIT, Stack, eventually};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn invalid_input_is_refused_with_a_reason() {
    const INVALID: &[u16] = &[400, 422];
    let stack = Stack::with(10, 1).start().await;
    let api = stack.api();
    let invalid_settings = [
        json!({"interval": "9s"}),
        json!({"interval": "32d"}),
        json!({"interval": "soon"}),
        json!({"intervall": "5m"}),
        json!({"streams": []}),
        json!({"streams": ["con tacts"]}),
        json!({"credential": "/etc/passwd"}),
        json!({"credential": "env:PATH"}),
        json!({"credential": "file:../x"}),
        json!({"destination": "system"}),
        json!([]),
    ];
    let mut cases: Vec<(&str, &str, Option<Value>, &[u16])> = invalid_settings
        .into_iter()
        .map(|settings| ("PUT", "/v1/connections/a", Some(settings), INVALID))
        .collect();
    let empty = || Some(json!({}));
    cases.extend([
        ("PUT", "/v1/connections/Bad%20Name", empty(), INVALID),
        ("GET", "/v1/connections/nobody", None, &[404]),
        ("POST", "/v1/connections/nobody/stop", None, &[404]),
        ("POST", "/v1/connections/nobody/sync", empty(), &[404]),
        ("DELETE", "/v1/connections/nobody", None, &[404]),
        ("GET", "/v1/nothing", None, &[404]),
        ("PATCH", "/v1/connections", None, &[405]),
    ]);
    for (method, path, body, expected) in cases {
        let answer = api.send(method, path, body.clone()).await;
        let what = format!(
            "{method} {path} {body:?}: {} {}",
            answer.status, answer.body
        );
        assert!(expected.contains(&answer.status), "{what}");
        assert_eq!(
            answer.headers["content-type"], "application/problem+json",
            "{what}"
        );
        assert!(answer.body["code"].is_string(), "{what}");
    }
    assert_eq!(api.get("/v1/connections").await["connections"], json!([]));
}

/// Ids on all pages of a query, and whether they are archived.
async fn paged(api: &Api, query: &str) -> Vec<(u64, bool)> {
    let route = format!("/v1/connections/default/records/contacts?{query}");
    let mut ids = Vec::new();
    let mut path = route.clone();
    loop {
        let page = api.get(&path).await;
        for record in page["results"].as_array().unwrap() {
            let id = record["id"].as_str().unwrap().parse().unwrap();
            ids.push((id, record["archived"].as_bool().unwrap()));
        }
        let Some(after) = page["paging"]["next"]["after"].as_str() else {
            return ids;
        };
        path = format!("{route}&after={after}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_of_many_chunks_has_every_record_once_and_in_order() {
    let stack = Stack::with(40_000, 1)
        .portal(|portal| {
            portal.distinct = 100;
            portal.properties = 10;
            portal.set_properties = 4;
            portal.archived_percent = 0.0;
        })
        .start()
        .await;
    stack.first_sync(json!({"streams": ["contacts"]})).await;
    let count = "SELECT count() FROM hubspot.contacts";
    stack.sql().until(count, 40_000).await;
    let path = "/v1/connections/default/records/contacts";
    let lines = stack.api().text(path, "application/x-ndjson").await;
    let id = |line: &str| {
        let record: Value = serde_json::from_str(line).unwrap();
        record["id"].as_str().unwrap().parse::<u64>().unwrap()
    };
    let exported: Vec<u64> = lines.lines().map(id).collect();
    let ids = stack.simulator.portal().ids("contacts");
    assert!(exported == ids, "{} of {}", exported.len(), ids.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn stored_records_are_paged_without_a_gap_or_a_repeat() {
    let stack = Stack::with(450, 10).start().await;
    // More archived records in a row than a small page has.
    let portal = stack.simulator.portal();
    for id in portal.ids("contacts").iter().skip(100).take(40) {
        portal.archive("contacts", *id).unwrap();
    }
    stack.first_sync(json!({})).await;
    stack.matches_truth("contacts").await;
    let api = stack.api();
    let ids = portal.ids("contacts");
    for limit in [100, 7] {
        let live = paged(&api, &format!("limit={limit}&properties=email")).await;
        assert!(live.iter().all(|(_, archived)| !archived));
        assert_eq!(live.iter().map(|it| it.0).collect::<Vec<_>>(), ids);
    }
    let all = paged(&api, "limit=100&archived=any").await;
    assert_eq!(all.len(), 450);
    let archived: Vec<_> = all.into_iter().filter(|it| it.1).collect();
    assert!(archived.len() >= 40);
    assert_eq!(paged(&api, "limit=7&archived=true").await, archived);

    // A record fetched later is found by when it was fetched, a deleted one where asked for.
    let until_now = api
        .get("/v1/connections/default/records/contacts?synced_since=2200-01-01T00:00:00Z")
        .await;
    assert_eq!(until_now["results"], json!([]));
    let since = paged(&api, "limit=100&synced_since=2000-01-01T00:00:00Z").await;
    assert_eq!(since.len(), ids.len());
    assert_eq!(paged(&api, "deleted=true&archived=any").await, []);
    assert_eq!(paged(&api, "limit=7&deleted=any").await.len(), ids.len());

    let first = ids[0];
    let record = api
        .get(&format!("/v1/connections/default/records/contacts/{first}"))
        .await;
    assert_eq!(record["id"], first.to_string());
    let none = api
        .send("GET", "/v1/connections/default/records/contacts/1", None)
        .await;
    assert_eq!(none.status, 404);
    let lines = api
        .text(
            "/v1/connections/default/records/contacts?archived=any",
            "application/x-ndjson",
        )
        .await;
    assert_eq!(lines.lines().count(), 450);
    let route = "/v1/connections/default/records/contacts?properties=email,firstname,nothing";
    let csv = api.text(&format!("{route}&archived=any"), "text/csv").await;
    let names =
        r#""id","created_at","updated_at","synced_at","archived","deleted","email","firstname""#;
    assert_eq!(csv.lines().next(), Some(names));
    let listed = csv
        .lines()
        .skip(1)
        .map(|line| line.split(',').next().unwrap());
    let mut expected = ids.clone();
    expected.extend(stack.simulator.portal().archived_ids("contacts"));
    expected.sort_unstable();
    assert!(listed.eq(expected.iter().map(u64::to_string)), "{csv}");
    let page = format!("{route}&ids={first}");
    let shown = &api.get(&page).await["results"][0];
    let line = api.text(&page, "text/csv").await;
    let line = line.lines().nth(1).unwrap();
    for value in [&shown["updated_at"], &shown["properties"]["email"]] {
        assert!(line.contains(value.as_str().unwrap()), "{line}: {shown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_page_has_what_changed_after_an_earlier_one_was_read() {
    let stack = Stack::with(300, 1).start().await;
    stack
        .first_sync(json!({"streams": ["contacts"], "interval": "1h"}))
        .await;
    stack.matches_truth("contacts").await;
    let portal = stack.simulator.portal();
    let ids = portal.ids("contacts");
    let page = async |after: u64| {
        let path = "/v1/connections/default/records/contacts";
        let query = format!("limit=50&properties=city&after=k1{after:016x}");
        stack.api().get(&format!("{path}?{query}")).await
    };
    portal
        .update("contacts", ids[110], &[("city", "Ghent")])
        .unwrap();
    let new = portal.create("contacts", &[("city", "Ghent")]).unwrap();
    stack.search_shows_changes().await;
    stack.sync().await;
    let loaded = "SELECT countIf(city = 'Ghent') = 2 AND (SELECT countDistinct(object_id) FROM \
                  hubspot_raw.changes WHERE properties LIKE '%\"Ghent\"%') = 2 FROM \
                  hubspot.contacts";
    eventually("the changes are loaded", HANG_LIMIT, async || {
        // What follows is read ahead each time, the last time before they are there.
        page(ids[49]).await;
        page(ids[249]).await;
        let loaded = stack.sql().try_query(loaded).await.ok()?;
        (loaded.trim() == "1").then_some(())
    })
    .await;
    let second = page(ids[99]).await;
    assert_eq!(second["results"].as_array().unwrap().len(), 50);
    assert_eq!(second["results"][10]["properties"]["city"], "Ghent");
    // The last page has no end: a new object comes behind all others.
    let last = page(ids[249]).await;
    let shown = last["results"].as_array().unwrap();
    assert_eq!(shown.len(), ids.len() - 250 + 1);
    let shown = shown.last().unwrap();
    assert_eq!(shown["id"], new.to_string());
    assert_eq!(shown["properties"]["city"], "Ghent");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_compressed_for_those_who_accept_it() {
    let stack = Stack::with(300, 1).start().await;
    stack
        .first_sync(json!({"interval": "1h", "streams": ["contacts"]}))
        .await;
    stack.matches_truth("contacts").await;
    let route = "/v1/connections/default/records/contacts";
    let lines = stack.api().text(route, "application/x-ndjson").await;
    for (encoding, begins) in [
        ("zstd", &[0x28, 0xb5, 0x2f, 0xfd][..]),
        ("gzip", &[0x1f, 0x8b][..]),
    ] {
        let request = harness::api::client()
            .get(format!("{}{route}", stack.api().url()))
            .header("accept", "application/x-ndjson")
            .header("accept-encoding", encoding);
        let answer = request.send().await.unwrap();
        assert_eq!(answer.headers()["content-encoding"], encoding);
        let varies = answer.headers().get_all("vary").iter();
        let varies: Vec<&str> = varies.map(|it| it.to_str().unwrap()).collect();
        assert_eq!(varies, ["accept", "accept-encoding"]);
        let body = answer.bytes().await.unwrap();
        assert!(body.starts_with(begins), "{encoding}");
        assert!(body.len() < lines.len() / 2, "{encoding}: {}", body.len());
    }
    let unpacking = reqwest::Client::builder().gzip(true).build().unwrap();
    let request = unpacking
        .get(format!("{}{route}", stack.api().url()))
        .header("accept", "application/x-ndjson");
    let unpacked = request.send().await.unwrap().text().await.unwrap();
    assert!(unpacked == lines, "{} bytes", unpacked.len());
}
