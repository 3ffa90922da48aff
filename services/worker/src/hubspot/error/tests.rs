//! The rows of the table of failures.

use super::*;

fn status(status: u16, body: &str) -> Fault {
    answer(status, body, Some("c-0"))
}

/// An answer without a correlation id.
fn proxys(status: u16, body: &str) -> Fault {
    answer(status, body, None)
}

fn answer(status: u16, body: &str, correlation_id: Option<&str>) -> Fault {
    Fault::Status {
        status,
        detail: Detail::read(body.as_bytes(), correlation_id),
        retry_after: None,
    }
}

fn code(action: Action) -> (&'static str, Advice) {
    match action {
        Action::GiveUp(verdict) => (verdict.code, verdict.advice),
        other => panic!("{other:?} is not a verdict"),
    }
}

const RATE_LIMIT: &str = r#"{"status":"error","message":"You have reached your ten_secondly_rolling limit.",
    "errorType":"RATE_LIMIT","correlationId":"c-1","policyName":"TEN_SECONDLY_ROLLING"}"#;
const SCOPES: &str = r#"{"status":"error","category":"MISSING_SCOPES","errors":[{"context":
    {"requiredGranularScopes":["crm.objects.contacts.read","a b"]}}],"correlationId":"c-2"}"#;

#[test]
fn transient_faults_are_retried() {
    let soon = Action::Retry(Duration::ZERO);
    let smaller = Action::RetryOrShrink(Duration::ZERO);
    let unreadable = Fault::Unreadable {
        reason: "x".to_owned(),
    };
    for fault in [Fault::NoAnswer { reason: "x" }, unreadable] {
        assert_eq!(action(Endpoint::List, &fault), smaller);
        assert_eq!(action(Endpoint::Search, &fault), soon);
    }
    let no_connection = Fault::NoConnection { reason: "x" };
    assert_eq!(action(Endpoint::List, &no_connection), soon);
    for passing in [408, 500, 502, 503, 504, 521, 522, 523, 524, 525, 526, 530] {
        let fault = proxys(passing, "<html>Bad gateway</html>");
        assert_eq!(action(Endpoint::BatchRead, &fault), smaller, "{passing}");
        assert_eq!(action(Endpoint::Token, &fault), soon, "{passing}");
    }
    assert_eq!(
        action(Endpoint::List, &status(423, "{}")),
        Action::Retry(LOCKED)
    );
}

#[test]
fn a_refusal_without_a_correlation_id_is_a_proxys_and_is_retried() {
    let soon = Action::Retry(Duration::ZERO);
    let json = r#"{"message":"blocked","category":"FORBIDDEN_BY_POLICY"}"#;
    for refused in [400, 403, 404, 405, 410, 451] {
        for body in ["<html>", "", json] {
            let of = |endpoint| action(endpoint, &proxys(refused, body));
            assert_eq!(of(Endpoint::List), soon, "{refused} {body}");
            assert_eq!(of(Endpoint::Properties), soon, "{refused} {body}");
        }
    }
    // HubSpot answers paths that it does not have in HTML.
    for (endpoint, code) in [
        (Endpoint::Search, "no_search"),
        (Endpoint::BatchRead, "no_batch_read"),
        (Endpoint::FirstArchivedPage, "no_archived_list"),
    ] {
        match action(endpoint, &proxys(404, "<html>")) {
            Action::RetryThen(verdict) => assert_eq!(verdict.code, code),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_429_pauses_its_bucket_and_one_for_the_day_waits_for_the_reset() {
    let of = |body: &str| action(Endpoint::Search, &status(429, body));
    assert_eq!(of(RATE_LIMIT), Action::PauseBucket);
    assert_eq!(of(r#"{"policyName":"SECONDLY"}"#), Action::PauseBucket);
    assert_eq!(of(r#"{"category":"RATE_LIMITS"}"#), Action::PauseBucket);
    assert_eq!(of("<html>"), Action::PauseBucket);
    assert_eq!(of(r#"{"policyName":"DAILY"}"#), Action::WaitForReset);
    assert_eq!(
        of(r#"{"message":"You have reached your daily limit."}"#),
        Action::WaitForReset
    );
    assert_eq!(
        Detail::read(RATE_LIMIT.as_bytes(), None).policy,
        Some(Policy::TenSecondly)
    );
}

#[test]
fn a_migration_pauses_the_account_for_retry_after() {
    let fault = Fault::Status {
        status: 477,
        detail: Detail::default(),
        retry_after: Some(Duration::from_hours(24)),
    };
    assert_eq!(
        action(Endpoint::List, &fault),
        Action::PauseAccount(Duration::from_hours(24))
    );
    assert_eq!(
        action(Endpoint::List, &status(477, "")),
        Action::PauseAccount(MIGRATION)
    );
}

#[test]
fn permanent_faults_end_the_run_the_stream_or_the_connection() {
    use Advice::{DoWithout, EndRun, SkipStream, StopConnection};
    use Endpoint::{Account, BatchRead, FirstArchivedPage, List, Properties, Search};

    let invalid = r#"{"category":"VALIDATION_ERROR"}"#;
    let unknown = r#"{"message":"Unable to infer object type from: x"}"#;
    let view = r#"{"message":"You do not have permissions to view_schema object type
        ObjectTypeId{legacyObjectType=LEAD} in portal 1 (requires one of [leads-read])"}"#;
    let list = DoWithout(Capability::ArchivedList);
    for (endpoint, number, body, expected, advice) in [
        (List, 400, invalid, "request_refused", EndRun),
        (Search, 400, invalid, "request_refused", EndRun),
        (BatchRead, 400, invalid, "request_refused", EndRun),
        (Properties, 400, invalid, "unknown_object_type", SkipStream),
        (Account, 400, invalid, "request_refused", StopConnection),
        (Account, 403, view, "forbidden", StopConnection),
        (List, 403, SCOPES, "missing_scope", SkipStream),
        (Properties, 403, view, "missing_scope", SkipStream),
        (List, 403, "{}", "missing_scope", SkipStream),
        (Search, 403, "{}", "missing_scope", SkipStream),
        (BatchRead, 403, "{}", "missing_scope", SkipStream),
        (List, 404, "", "unknown_object_type", SkipStream),
        (List, 400, unknown, "unknown_object_type", SkipStream),
        (Search, 400, unknown, "unknown_object_type", SkipStream),
        (
            FirstArchivedPage,
            400,
            unknown,
            "unknown_object_type",
            SkipStream,
        ),
        (FirstArchivedPage, 400, "{}", "no_archived_list", list),
        (FirstArchivedPage, 404, "", "no_archived_list", list),
        (Search, 404, "", "no_search", DoWithout(Capability::Search)),
        (
            BatchRead,
            405,
            "",
            "no_batch_read",
            DoWithout(Capability::BatchRead),
        ),
        (Account, 404, "", "unknown_api_version", StopConnection),
        (List, 414, "", "uri_too_long", SkipStream),
        (List, 405, "", "request_refused", SkipStream),
        (Properties, 410, "", "request_refused", SkipStream),
    ] {
        let found = code(action(endpoint, &status(number, body)));
        assert_eq!(found, (expected, advice), "{endpoint:?} {number} {body}");
    }
}

#[test]
fn a_refused_token_is_renewed_and_a_refused_refresh_ends_the_connection() {
    let expired = status(401, r#"{"category":"EXPIRED_AUTHENTICATION"}"#);
    assert_eq!(action(Endpoint::List, &expired), Action::RenewToken);
    let refresh = |body| code(action(Endpoint::Token, &status(400, body)));
    let revoked = r#"{"status":"BAD_REFRESH_TOKEN","error":"invalid_grant"}"#;
    assert_eq!(refresh(revoked), ("revoked", Advice::StopConnection));
    assert_eq!(
        refresh(r#"{"status":"BAD_HUB"}"#),
        ("revoked", Advice::StopConnection)
    );
    assert_eq!(
        refresh(r#"{"status":"BAD_CLIENT_ID","error":"invalid_client"}"#),
        ("credential_invalid", Advice::StopConnection)
    );
}

#[test]
fn a_message_names_scopes_and_correlation_id_and_no_values_of_records() {
    let text = status(403, SCOPES).to_string();
    assert!(
        text.contains("crm.objects.contacts.read") && text.contains("c-2"),
        "{text}"
    );
    assert!(!text.contains("a b"), "{text}");
    let said = r#"{"message":"requires one of [leads-read], not ann@example.com or 5551234567",
        "correlationId":"a b"}"#;
    assert_eq!(
        status(400, said).to_string(),
        "status 400, HubSpot says: \"requires one of [leads-read], not … or …\", correlation id c-0"
    );
    assert_eq!(proxys(400, said).to_string(), "status 400");
    let long = format!(r#"{{"message":"{}"}}"#, "é".repeat(1_000));
    assert!(status(400, &long).to_string().chars().count() < 400);
}

#[test]
fn a_field_of_another_type_does_not_hide_the_others() {
    let detail = Detail::read(
        br#"{"status":400,"category":"MISSING_SCOPES","message":{"a":1}}"#,
        None,
    );
    assert_eq!(detail.category, Category::MissingScopes);
}

#[test]
fn associations_that_are_refused_for_one_id_are_asked_for_less() {
    let of = |body: &str| action(Endpoint::Associations, &status(400, body));
    let refused = of(r#"{"category":"VALIDATION_ERROR"}"#);
    assert!(
        matches!(refused, Action::Shrink(it) if it.code == "request_refused"),
        "{refused:?}"
    );
    let unknown = of(r#"{"message":"Unable to infer object type from: x"}"#);
    assert_eq!(code(unknown), ("unknown_object_type", Advice::SkipStream));
}
