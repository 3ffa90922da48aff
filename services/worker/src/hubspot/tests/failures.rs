//! Failures of HubSpot: which are retried, and which end the call.

use super::*;

#[tokio::test]
async fn transient_failures_are_retried() {
    let fake = FakeServer::start().await;
    fake.answers_in_order(
        LIST,
        vec![
            ResponseTemplate::new(502).set_body_string("<html>Bad gateway</html>"),
            ResponseTemplate::new(200).set_body_string(r#"{"results":[{"id":"#),
            page(&[1]),
        ],
    )
    .await;
    let page = fake
        .source(12_000)
        .list("contacts", false, None, &definitions(&[]))
        .await;
    assert_eq!(page.unwrap().value.objects.len(), 1);
    assert_eq!(fake.requests().await.len(), 3);
}

#[tokio::test]
async fn a_search_over_the_limit_per_second_is_retried() {
    let fake = FakeServer::start().await;
    let refusal = error(429, json!({"policyName": "SECONDLY"})).insert_header("retry-after", "0");
    fake.answers_in_order(SEARCH, vec![refusal, page(&[1])])
        .await;
    let search = Search {
        from: 5_000,
        to: None,
        after_id: 0,
    };
    assert_eq!(fake.search(search).await.ids, [1]);
}

#[tokio::test]
async fn a_batch_that_hubspot_fails_on_is_split_until_it_is_read() {
    let fake = FakeServer::start().await;
    Mock::given(path(READ))
        .respond_with(|request: &Request| {
            let body: serde_json::Value = request.body_json().unwrap();
            let ids: Vec<i64> = body["inputs"]
                .as_array()
                .unwrap()
                .iter()
                .map(|input| input["id"].as_str().unwrap().parse().unwrap())
                .collect();
            if ids.len() > 2 {
                ResponseTemplate::new(500)
            } else {
                page(&ids)
            }
        })
        .mount(&fake.server)
        .await;
    let asked = [1, 2, 3, 4];
    let read = fake
        .source(12_000)
        .batch_read("contacts", &asked, false, &definitions(&[]))
        .await;
    let read = read.unwrap().value;
    assert_eq!(ids(&read.objects), asked);
    assert_eq!(read.missing, [0_i64; 0]);
}

#[tokio::test]
async fn permanent_failures_have_an_advice_and_are_not_retried() {
    let scopes = json!({"category": "MISSING_SCOPES",
        "errors": [{"context": {"requiredGranularScopes": ["crm.objects.contacts.read"]}}]});
    for (status, body, advice, code) in [
        (400, json!({}), Advice::EndRun, "request_refused"),
        (401, json!({}), Advice::StopConnection, "unauthorized"),
        (403, scopes, Advice::SkipStream, "missing_scope"),
        (404, json!({}), Advice::SkipStream, "unknown_object_type"),
    ] {
        let fake = FakeServer::start().await;
        fake.answers(LIST, error(status, body)).await;
        let failed = fake
            .source(12_000)
            .list("contacts", false, None, &definitions(&[]))
            .await;
        let failed = failed.unwrap_err();
        assert_eq!((failed.advice, failed.code), (advice, code));
        assert!(!failed.problem.contains("secret-token"));
        assert_eq!(fake.requests().await.len(), 1, "{code} is not retried");
    }
}
