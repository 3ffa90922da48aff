//! The token, requests from other sites, and the pages for browsers.

use chassis::secret::Secret;

use super::*;

/// An API with the tokens `secret`, and `look` for reading.
fn with_tokens() -> Fixture {
    let token = |text: &str| Some(Secret::fixed(text.into()));
    Fixture::with(
        |settings| {
            settings.tokens = Tokens {
                all: token("secret"),
                read: token("look"),
            };
        },
        NumberedRecords { away: false },
    )
}

fn request(method: &str, path: &str, token: &str) -> Request<Body> {
    let request = Request::builder().method(method).uri(path);
    let request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    request.body(Body::empty()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn every_request_but_those_for_health_needs_the_token() {
    let api = with_tokens();
    for path in [
        "/",
        "/static/app.js",
        "/docs/",
        "/openapi.json",
        "/metrics",
        "/v1/connections",
        "/v1/nothing",
    ] {
        assert_eq!(api.send("GET", path, "").await.0, 401, "{path}");
        assert_eq!(api.send("INVENTED", path, "").await.0, 401, "{path}");
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

#[tokio::test(start_paused = true)]
async fn the_token_for_reading_changes_nothing() {
    let api = with_tokens();
    for (method, path, token, status) in [
        ("GET", "/v1/connections", "look", 200),
        ("HEAD", "/v1/connections", "look", 200),
        ("GET", "/metrics", "look", 200),
        ("POST", "/v1/connections/default/start", "look", 403),
        ("PUT", "/v1/connections/default", "look", 403),
        ("DELETE", "/v1/connections/default", "look", 403),
        ("POST", "/v1/dead-letters/reprocess", "look", 403),
        // It is allowed, and has no query.
        ("POST", "/v1/sql", "look", 422),
        ("INVENTED", "/v1/connections", "look", 403),
        ("PUT", "/v1/connections/default", "secret", 201),
        ("DELETE", "/v1/connections/default", "Look", 401),
    ] {
        let response = api.raw(request(method, path, token)).await;
        assert_eq!(response.status(), status, "{method} {path} {token}");
    }
    let refused = api
        .raw(request("POST", "/v1/warehouse/rebuild", "look"))
        .await;
    let body = refused.into_body().collect().await.unwrap().to_bytes();
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["code"], "read_only_token");
}

#[tokio::test(start_paused = true)]
async fn wrong_tokens_are_answered_later_and_later_and_right_ones_at_once() {
    let api = with_tokens();
    let took = async |token: &str| {
        let began = tokio::time::Instant::now();
        let status = api
            .raw(request("GET", "/v1/connections", token))
            .await
            .status();
        (status.as_u16(), began.elapsed().as_millis())
    };
    for pause in [100, 200, 400, 800] {
        assert_eq!(took("wrong").await, (401, pause));
        assert_eq!(took("secret").await, (200, 0));
    }
    // A request without a token is no try.
    let response = api.send("GET", "/v1/connections", "").await;
    assert_eq!(response.0, 401);
    assert_eq!(took("wrong").await, (401, 1_600));
    // Those who do not wait for their answers are not looked at any more.
    for _ in 0..16 {
        let hung_up = tokio::time::timeout(Duration::from_millis(1), took("wrong"));
        assert!(hung_up.await.is_err());
    }
    let refused = api.raw(request("GET", "/v1/connections", "wrong")).await;
    assert_eq!(refused.status(), 429);
    assert!(refused.headers().contains_key(header::RETRY_AFTER));
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(took("secret").await, (200, 0));
}

#[tokio::test]
async fn requests_from_pages_of_other_sites_are_refused() {
    let api = Fixture::new();
    for (host, name, value, status) in [
        ("127.0.0.1:8080", "", "", 200),
        ("localhost:8080", "origin", "http://localhost:8080", 200),
        ("127.0.0.1:8080", "origin", "https://example.com", 403),
        ("127.0.0.1:8080", "origin", "null", 403),
        ("rebound.example.com", "", "", 403),
        ("127.0.0.1:8080", "sec-fetch-site", "same-origin", 200),
        ("127.0.0.1:8080", "sec-fetch-site", "none", 200),
        ("127.0.0.1:8080", "sec-fetch-site", "same-site", 403),
        ("127.0.0.1:8080", "sec-fetch-site", "cross-site", 403),
        ("127.0.0.1:8080", "sec-fetch-site", "", 403),
    ] {
        let mut request = Request::get("/v1/connections").header(header::HOST, host);
        if !name.is_empty() {
            request = request.header(name, value);
        }
        let response = api.raw(request.body(Body::empty()).unwrap()).await;
        assert_eq!(response.status(), status, "{host} {name}: {value}");
    }
}

/// The answers' policy allows no script and no style in a page.
#[tokio::test]
async fn the_pages_have_nothing_that_their_policy_forbids() {
    let api = Fixture::new();
    for path in ["/", "/docs/"] {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = api.raw(request).await;
        let page = response.into_body().collect().await.unwrap().to_bytes();
        let page = String::from_utf8(page.to_vec()).unwrap();
        for part in ["<style", " style=", " onclick=", "javascript:"] {
            assert!(!page.contains(part), "{path}: {part}");
        }
        let scripts: Vec<_> = page.split("<script").skip(1).collect();
        assert!(!scripts.is_empty(), "{path}");
        for script in scripts {
            let (attributes, rest) = script.split_once('>').unwrap();
            assert!(attributes.contains("src="), "{path}: {attributes}");
            let (inside, _) = rest.split_once("</script>").unwrap();
            assert!(inside.trim().is_empty(), "{path}: {inside}");
        }
    }
}

#[tokio::test]
async fn the_dashboard_the_docs_and_metrics_are_served() {
    let api = Fixture::new();
    for path in [
        "/",
        "/static/style.css",
        "/static/app.js",
        "/docs/",
        "/openapi.json",
        "/metrics",
        "/health/live",
        "/health/ready",
    ] {
        assert_eq!(api.send("GET", path, "").await.0, 200, "{path}");
    }
}
