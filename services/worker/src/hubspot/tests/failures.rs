//! Failures of HubSpot: which are retried, and which end the call.

use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};

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
        .list("contacts", FIRST, &definitions(&[]))
        .await;
    assert_eq!(page.unwrap().value.objects.len(), 1);
    assert_eq!(fake.requests().await.len(), 3);
}

/// Many spaces and an object, compressed.
fn padded(spaces: usize) -> ResponseTemplate {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    let piece = vec![b' '; 1 << 20];
    for _ in 0..spaces >> 20 {
        packed.write_all(&piece).unwrap();
    }
    packed.write_all(br#"{"results":[{"id":"1"}]}"#).unwrap();
    ResponseTemplate::new(200)
        .set_body_raw(packed.finish().unwrap(), "application/json")
        .insert_header("content-encoding", "gzip")
}

#[tokio::test]
async fn a_body_is_read_up_to_256_mib_after_decompression() {
    let fake = FakeServer::start().await;
    fake.answers_in_order(LIST, vec![padded(256 << 20), padded(255 << 20)])
        .await;
    let source = fake.source(12_000);
    let page = source.list("contacts", FIRST, &definitions(&[])).await;
    assert_eq!(page.unwrap().value.objects.len(), 1);
    assert_eq!(fake.requests().await.len(), 2, "the first one is too long");
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
        highest: false,
    };
    assert_eq!(fake.search(search).await.ids, [1]);
}

#[tokio::test]
async fn a_read_of_objects_that_keeps_failing_may_shrink_after_three_attempts() {
    for (failure, may_shrink, attempts) in [
        (ResponseTemplate::new(500), true, 3),
        (ResponseTemplate::new(524), true, 3),
        (page(&[1]).set_body_string("<html>"), true, 3),
        (error(400, json!({})), false, 1),
    ] {
        let fake = FakeServer::start().await;
        fake.answers(LIST, failure.clone()).await;
        fake.answers(READ, failure).await;
        let source = fake.source(12_000);
        let definitions = definitions(&[]);
        let listed = source.list("contacts", FIRST, &definitions).await;
        let read = source.batch_read("contacts", &[1], false, &definitions);
        for failed in [listed.unwrap_err(), read.await.unwrap_err()] {
            assert_eq!(failed.may_shrink, may_shrink, "{failed}");
        }
        assert_eq!(fake.requests().await.len(), 2 * attempts);
    }
}

#[tokio::test]
async fn a_page_of_ids_has_no_properties() {
    let fake = FakeServer::start().await;
    Mock::given(path(LIST))
        .and(query_param("limit", "1"))
        .and(query_param("properties", "lastmodifieddate"))
        .respond_with(page(&[7]))
        .mount(&fake.server)
        .await;
    let request = ListRequest {
        limit: 1,
        ids_only: true,
        ..FIRST
    };
    let source = fake.source(12_000);
    let definitions = definitions(&["email"]);
    let page = source.list("contacts", request, &definitions).await;
    assert_eq!(ids(&page.unwrap().value.objects), [7]);
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
        (403, json!({}), Advice::SkipStream, "missing_scope"),
        (405, json!({}), Advice::SkipStream, "request_refused"),
    ] {
        let fake = FakeServer::start().await;
        fake.answers(LIST, error(status, body)).await;
        let failed = fake
            .source(12_000)
            .list("contacts", FIRST, &definitions(&[]))
            .await;
        let failed = failed.unwrap_err().error;
        assert_eq!((failed.advice, failed.code), (advice, code));
        assert!(!failed.problem.contains("secret-token"));
        assert_eq!(fake.requests().await.len(), 1, "{code} is not retried");
    }
}

#[tokio::test]
async fn a_pause_of_more_than_a_minute_is_shown_and_not_waited_out_in_silence() {
    let limit = error(429, json!({"policyName": "TEN_SECONDLY_ROLLING"}));
    for (refusal, attempts) in [(limit, 1), (error(503, json!({})), 2)] {
        let fake = FakeServer::start().await;
        let refusal = refusal.insert_header("retry-after", "600");
        fake.answers(LIST, refusal).await;
        let source = fake.source(12_000);
        let definitions = definitions(&[]);
        for _ in 0..2 {
            let listed = source.list("contacts", FIRST, &definitions).await;
            let failed = listed.unwrap_err();
            assert!(!failed.may_shrink);
            let Advice::WaitUntil(until) = failed.error.advice else {
                panic!("{failed:?}")
            };
            let wait = until - source.now();
            assert!((598_000..=600_000).contains(&wait), "{wait}");
        }
        // Nothing is sent while a limit is paused.
        assert_eq!(fake.requests().await.len(), attempts);
    }
}
