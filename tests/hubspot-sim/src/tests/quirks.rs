//! Limits, headers, refusals and quirks.

use super::*;

#[tokio::test]
async fn the_general_limit_is_named_in_its_refusal() {
    let simulator = simulator(10, |config| {
        config.portals[0].limits = Limits {
            general: Some(2),
            ..Limits::default()
        };
    })
    .await;
    let client = Client::of(&simulator);
    let url = format!("{}/account-info/2026-09/details", client.base);
    let first = client
        .http
        .get(&url)
        .bearer_auth("demo-token")
        .send()
        .await
        .unwrap();
    assert_eq!(first.headers()["x-hubspot-ratelimit-max"], "2");
    assert_eq!(first.headers()["x-hubspot-ratelimit-remaining"], "1");
    assert_eq!(
        first.headers()["x-hubspot-ratelimit-daily-remaining"],
        "624999"
    );
    assert!(first.headers().contains_key("date"));
    assert_eq!(client.get("/account-info/2026-09/details").await.0, 200);
    let (status, body) = client.get("/account-info/2026-09/details").await;
    assert_eq!(
        (status, &body["policyName"]),
        (429, &json!("TEN_SECONDLY_ROLLING"))
    );
    // Search has a bucket of its own.
    let (status, _) = client
        .post("/crm/v3/objects/contacts/search", json!({}))
        .await;
    assert_eq!(status, 200);
    assert_eq!(simulator.requests().answered(429), 1);
}

#[tokio::test]
async fn search_refuses_rows_beyond_the_cap() {
    let simulator = simulator(10, |_| {}).await;
    let client = Client::of(&simulator);
    let path = "/crm/objects/2026-09/contacts/search";
    let (status, body) = client
        .post(path, json!({"limit": 200, "after": "9801"}))
        .await;
    assert_eq!(
        (status, &body["category"]),
        (400, &json!("VALIDATION_ERROR"))
    );
    assert_eq!(
        client
            .post(path, json!({"limit": 200, "after": "9800"}))
            .await
            .0,
        200
    );
    assert_eq!(client.post(path, json!({"limit": 201})).await.0, 400);
    let long = json!({"query": "x".repeat(3_001)});
    assert_eq!(client.post(path, long).await.0, 400);
}

#[tokio::test]
async fn search_shows_a_change_only_after_the_lag() {
    let simulator = simulator(10, |config| config.portals[0].quirks.index_lag_ms = 60_000).await;
    let client = Client::of(&simulator);
    let portal = simulator.portal();
    let id = portal.ids("contacts")[0];
    let at = portal
        .update("contacts", id, &[("firstname", "Zoë")])
        .unwrap();
    let body = json!({"filterGroups": [{"filters": [
        {"propertyName": "lastmodifieddate", "operator": "EQ", "value": at.to_string()}]}]});
    let path = "/crm/objects/2026-09/contacts/search";
    assert_eq!(client.post(path, body.clone()).await.1["total"], 0);
    simulator.advance(Duration::from_mins(1));
    assert_eq!(client.post(path, body).await.1["total"], 1);
}

#[tokio::test]
async fn a_url_that_is_too_long_is_refused() {
    let simulator = simulator(10, |_| {}).await;
    let client = Client::of(&simulator);
    let path = format!(
        "/crm/objects/2026-09/contacts?properties={}",
        "x".repeat(17_000)
    );
    assert_eq!(client.get(&path).await.0, 414);
}

#[tokio::test]
async fn unknown_properties_are_ignored_and_three_are_always_shown() {
    let simulator = simulator(10, |_| {}).await;
    let client = Client::of(&simulator);
    let (_, page) = client
        .get("/crm/objects/2026-03/contacts?properties=nonsense,message")
        .await;
    let shown = page["results"][0]["properties"].as_object().unwrap();
    let names: Vec<&str> = shown.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        ["createdate", "hs_object_id", "lastmodifieddate", "message"]
    );
}

#[tokio::test]
async fn a_short_page_is_followed_by_the_remaining_rows() {
    let simulator = simulator(500, |config| config.portals[0].quirks.short_pages_every = 2).await;
    let client = Client::of(&simulator);
    let (mut after, mut found, mut sizes) = (None, 0, Vec::new());
    loop {
        let body = json!({"limit": 200, "after": after});
        let (_, page) = client
            .post("/crm/objects/2026-09/contacts/search", body)
            .await;
        sizes.push(page["results"].as_array().unwrap().len());
        found += sizes.last().unwrap();
        after = page["paging"]["next"]["after"].as_str().map(str::to_owned);
        if after.is_none() {
            break;
        }
    }
    assert_eq!(found, simulator.portal().ids("contacts").len());
    assert_eq!(sizes[1], 100);
}

#[tokio::test]
async fn an_object_type_may_be_named_by_its_id_or_be_custom() {
    let simulator = simulator(10, |_| {}).await;
    let client = Client::of(&simulator);
    assert_eq!(client.get("/crm/objects/2026-09/0-1").await.0, 200);
    assert_eq!(client.get("/crm/objects/2026-09/p_cars").await.0, 400);
    let (name, type_id) = ("p_cars".to_owned(), "2-123".to_owned());
    simulator
        .portal()
        .apply(&Change::AddType { name, type_id })
        .unwrap();
    simulator.portal().create("p_cars", &[]).unwrap();
    let (_, page) = client.get("/crm/objects/2026-09/2-123").await;
    assert!(page["results"][0]["properties"]["hs_createdate"].is_string());
    let (_, page) = client.get("/crm-object-schemas/2026-09/schemas").await;
    assert_eq!(page["results"][0]["objectTypeId"], "2-123");
}

#[tokio::test]
async fn search_shows_some_rows_minutes_late() {
    let simulator = simulator(200, |_| {}).await;
    let client = Client::of(&simulator);
    let late = json!({"index_lag_ms": 0, "late_rows": [
        {"object_type": "contacts", "percent": 20, "ms": 180_000}]});
    assert_eq!(client.post("/__sim/quirks", late).await.0, 200);
    let portal = simulator.portal();
    let ids = portal.ids("contacts");
    let at = portal
        .bulk("contacts", &ids, &[("firstname", "Zoë")])
        .unwrap();
    let body = json!({"filterGroups": [{"filters": [
        {"propertyName": "lastmodifieddate", "operator": "GTE", "value": at.to_string()}]}]});
    let total = async || {
        let path = "/crm/objects/2026-09/contacts/search";
        let total = client.post(path, body.clone()).await.1["total"].as_u64();
        usize::try_from(total.unwrap()).unwrap()
    };
    let late = ids.len() - total().await;
    assert!((20..60).contains(&late), "{late}");
    simulator.advance(Duration::from_secs(170));
    assert_eq!(total().await, ids.len() - late);
    assert!(!portal.search_shows(at));
    simulator.advance(Duration::from_secs(10));
    assert_eq!(total().await, ids.len());
}
