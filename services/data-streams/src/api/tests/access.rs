//! The token, requests from other sites, and the pages for browsers.

use super::*;

#[tokio::test]
async fn every_request_but_those_for_health_needs_the_token() {
    let api = Fixture::with(
        |settings| settings.token = Some("secret".into()),
        NumberedRecords { away: false },
    );
    for path in [
        "/",
        "/docs/",
        "/openapi.json",
        "/metrics",
        "/v1/connections",
        "/v1/nothing",
    ] {
        assert_eq!(api.send("GET", path, "").await.0, 401, "{path}");
    }
    assert_eq!(api.send("GET", "/health/live", "").await.0, 200);
    assert_eq!(api.send("GET", "/health/ready", "").await.0, 200);
    for (credentials, status) in [
        ("Bearer secret", 200),
        ("bearer secret", 200),
        ("Basic OnNlY3JldA==", 200),
        ("Bearer Secret", 401),
        ("Bearer secretsecret", 401),
        ("Basic c2VjcmV0", 401),
        ("secret", 401),
    ] {
        let request = Request::get("/v1/connections")
            .header(header::AUTHORIZATION, credentials)
            .body(Body::empty())
            .unwrap();
        assert_eq!(api.raw(request).await.status(), status, "{credentials}");
    }
}

#[tokio::test]
async fn requests_from_pages_of_other_sites_are_refused() {
    let api = Fixture::new();
    for (host, origin, status) in [
        ("127.0.0.1:8080", None, 200),
        ("localhost:8080", Some("http://localhost:8080"), 200),
        ("127.0.0.1:8080", Some("https://example.com"), 403),
        ("127.0.0.1:8080", Some("null"), 403),
        ("rebound.example.com", None, 403),
    ] {
        let mut request = Request::get("/v1/connections").header(header::HOST, host);
        if let Some(origin) = origin {
            request = request.header(header::ORIGIN, origin);
        }
        let response = api.raw(request.body(Body::empty()).unwrap()).await;
        assert_eq!(response.status(), status, "{host} {origin:?}");
    }
}

#[tokio::test]
async fn the_dashboard_the_docs_and_metrics_are_served() {
    let api = Fixture::new();
    for path in [
        "/",
        "/docs/",
        "/openapi.json",
        "/metrics",
        "/health/live",
        "/health/ready",
    ] {
        assert_eq!(api.send("GET", path, "").await.0, 200, "{path}");
    }
    let page = include_str!("../../../static/dashboard.html");
    assert!(
        !page.contains("http://") && !page.contains("https://"),
        "no external resources"
    );
}
