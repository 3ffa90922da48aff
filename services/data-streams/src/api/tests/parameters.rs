//! What an address may have beside its path, and what is wrong with one.

use super::*;

#[tokio::test]
async fn what_is_wrong_with_an_address_is_named() {
    let api = Fixture::new();
    api.send("PUT", "/v1/connections/default", "").await;
    for (method, path, field) in [
        ("GET", "/v1/connections?x=1", "x"),
        ("GET", "/v1/connections/default?x=1", "x"),
        ("PUT", "/v1/connections/default?interval=1h", "interval"),
        (
            "POST",
            "/v1/connections/default/sync?streams=contacts",
            "streams",
        ),
        ("POST", "/v1/connections/default/stop?x", "x"),
        ("GET", "/v1/connections/default/reconciliations?x=1", "x"),
        ("POST", "/v1/sql?query=SELECT", "query"),
        ("DELETE", "/v1/connections/default?foo=1", "foo"),
        ("DELETE", "/v1/connections/default?purge=1", "purge"),
        ("GET", "/v1/connections/default/changes?streams=", "streams"),
        ("GET", "/v1/connections/%ff", "path"),
        ("PUT", "/v1/connections/%ff", "path"),
    ] {
        let (status, problem) = api.send(method, path, "").await;
        let found = (status, &problem["code"], &problem["field"]);
        let expected = (400, &json!("invalid_parameter"), &json!(field));
        assert_eq!(found, expected, "{method} {path}");
    }
    for (method, path, expected) in [
        ("HEAD", "/v1/connections", 200),
        ("HEAD", "/v1/connections?x=1", 400),
        ("PATCH", "/v1/connections?x=1", 405),
        ("GET", "/v1/nothing?x=1", 404),
        ("GET", "/v1/dead-letters?limit=1", 200),
        ("GET", "/health/live?x=1", 200),
        ("GET", "/data?type=contacts", 200),
    ] {
        let request = Request::builder().method(method).uri(path);
        let response = api.raw(request.body(Body::empty()).unwrap()).await;
        assert_eq!(response.status(), expected, "{method} {path}");
    }
}

#[tokio::test]
async fn caches_are_told_which_answers_depend_on_accept() {
    let api = Fixture::new();
    api.send("PUT", "/v1/connections/default", "").await;
    let vary = async |path: &str| {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = api.raw(request).await;
        let values = response.headers().get_all(header::VARY).iter();
        let values = values.map(|it| it.to_str().unwrap().to_owned());
        values.collect::<Vec<_>>()
    };
    let records = "/v1/connections/default/records/contacts";
    for path in ["/v1/connections", records] {
        assert!(vary(path).await.contains(&"accept".to_owned()), "{path}");
    }
    // A large answer, which can also be compressed.
    let large = vary(&format!("{records}?limit=999")).await;
    assert_eq!(large, ["accept", "accept-encoding"]);
    let one = vary(&format!("{records}/7")).await;
    assert!(!one.contains(&"accept".to_owned()), "{one:?}");
}
