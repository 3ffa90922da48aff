//! Errors of HubSpot, and the state that the API then shows.

use std::time::Duration;

use harness::{HANG_LIMIT, Stack, api::stream};
use hubspot_sim::{Fault, Kind, PortalConfig, Refusal, Rule};
use serde_json::{Value, json};

use crate::reconciliations;

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_scope_skips_only_its_stream() {
    let stack = Stack::with(200, 20).start().await;
    stack.simulator.portal().set_scope("companies", false);
    let api = stack.api();
    api.start("default", json!({})).await;
    let connection = api
        .until(
            "companies are skipped and contacts synced",
            "default",
            HANG_LIMIT,
            |it| {
                stream(it, "companies")["phase"] == "skipped"
                    && !stream(it, "contacts")["last_success"].is_null()
            },
        )
        .await;
    let error = &stream(&connection, "companies")["error"];
    assert_eq!(error["code"], "missing_scope");
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("crm.objects.companies.read"),
        "{error}"
    );
    assert!(
        error["advice"].as_str().unwrap().contains("scope"),
        "{error}"
    );
    stack.matches_truth("contacts").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_refused_is_shown_and_tried_again_without_a_command() {
    let stack = Stack::with(200, 20).start().await;
    stack.first_sync(json!({})).await;
    let portal_id = stack.simulator.portal().id();
    stack.simulator.revoke_token(harness::stack::TOKEN);
    let api = stack.api();
    api.sync("default").await;
    let is_refused = |it: &Value| it["observed"]["error"]["code"] == "unauthorized";
    api.until("the refusal is shown", "default", HANG_LIMIT, is_refused)
        .await;
    stack
        .simulator
        .assign_token(harness::stack::TOKEN, portal_id);
    api.until("it runs again", "default", HANG_LIMIT, |it| {
        it["observed"]["state"] == "running" && it["observed"]["error"].is_null()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_never_worked_fails_the_connection_within_seconds() {
    let stack = Stack::with(20, 2).start().await;
    stack.simulator.revoke_token(harness::stack::TOKEN);
    let api = stack.api();
    api.start("default", json!({})).await;
    let failed = |it: &Value| it["observed"]["state"] == "failed";
    let limit = Duration::from_secs(20);
    let connection = api
        .until("the connection has failed", "default", limit, failed)
        .await;
    assert_eq!(connection["observed"]["error"]["code"], "unauthorized");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_without_a_category_skips_only_its_stream_and_names_the_scope() {
    let stack = Stack::with(200, 20).start().await;
    for form in [
        Refusal::NoPermission,
        Refusal::ImproperToken,
        Refusal::Forbidden,
    ] {
        let refusal = Fault::Refused {
            form,
            category: None,
            correlation_id: true,
        };
        stack.simulator.faults().clear();
        let rule = Rule::any(refusal).of("companies").always();
        stack.simulator.faults().push(rule);
        let api = stack.api();
        api.start("default", json!({})).await;
        let skipped = |it: &Value| {
            stream(it, "companies")["phase"] == "skipped"
                && !stream(it, "contacts")["last_success"].is_null()
        };
        let connection = api
            .until("companies are skipped", "default", HANG_LIMIT, skipped)
            .await;
        assert_eq!(connection["observed"]["state"], "running", "{form:?}");
        let error = &stream(&connection, "companies")["error"];
        assert_eq!(error["code"], "missing_scope", "{form:?}");
        let message = error["message"].as_str().unwrap();
        let named = match form {
            Refusal::NoPermission => "companies-read",
            Refusal::Forbidden => "crm.objects.companies.read",
            _ => "proper permissions",
        };
        assert!(message.contains(named), "{message}");
        // It is tried again without another command, for which the test does not wait.
        assert!(!stream(&connection, "companies")["next_run"].is_null());
        api.stop("default").await;
    }
    stack.matches_truth("contacts").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_type_without_an_archived_list_is_read_without_it_and_says_so() {
    let stack = Stack::with(300, 40).start().await;
    let refusal = Fault::Refused {
        form: Refusal::NoArchivedList,
        category: None,
        correlation_id: true,
    };
    let rule = Rule::any(refusal).of("companies").always();
    stack.simulator.faults().push(rule);
    let connection = stack.first_sync(json!({})).await;
    let limitations = &stream(&connection, "companies")["limitations"];
    assert_eq!(
        limitations[0]["capability"], "archived_list",
        "{connection}"
    );
    assert!(
        limitations[0]["advice"]
            .as_str()
            .unwrap()
            .contains("erased"),
        "{limitations}"
    );
    assert_eq!(stream(&connection, "contacts")["limitations"], json!([]));
    let sql = stack.sql();
    let live = stack.simulator.portal().ids("companies");
    let count = "SELECT count() FROM hubspot.companies";
    sql.until(count, live.len()).await;
    // An object that is archived later is read by its id, and is no deletion.
    stack
        .simulator
        .portal()
        .archive("companies", live[0])
        .unwrap();
    let api = stack.api();
    reconciliations::request(&api, "companies").await;
    let row = format!(
        "SELECT count() FROM hubspot.companies_all \
         WHERE _object_id = {} AND _archived AND NOT _deleted",
        live[0]
    );
    sql.until(&row, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_read_where_search_fails() {
    let stack = Stack::with(300, 40).start().await;
    let refusal = Fault::Refused {
        form: Refusal::NoSearch,
        category: None,
        correlation_id: true,
    };
    let rule = Rule::any(refusal).of("companies").always();
    stack.simulator.faults().push(rule);
    let fails = Fault::Status {
        code: 500,
        body: hubspot_sim::FaultBody::Json,
        retry_after: None,
    };
    let rule = Rule::next(Kind::Search, fails).of("contacts").always();
    stack.simulator.faults().push(rule);
    stack.first_sync(json!({})).await;
    stack.matches_truth("contacts").await;
    stack.matches_truth("companies").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_completes_despite_every_kind_of_http_fault() {
    let stack = Stack::with(1_000, 50).start().await;
    let faults = stack.simulator.faults();
    for fault in [
        Fault::Reset,
        Fault::CutBody { after: 5_000 },
        Fault::NotJson,
        Fault::Status {
            code: 502,
            body: hubspot_sim::FaultBody::Html,
            retry_after: None,
        },
        Fault::Status {
            code: 423,
            body: hubspot_sim::FaultBody::Json,
            retry_after: Some(1),
        },
        Fault::RateLimited {
            policy: hubspot_sim::Policy::TenSecondlyRolling,
            retry_after: Some(1),
        },
        Fault::SlowBody {
            pieces: 5,
            pause_ms: 50,
        },
    ] {
        faults.push(Rule::next(Kind::List, fault));
    }
    stack.first_sync(json!({})).await;
    stack.matches_truth("contacts").await;
    stack.matches_truth("companies").await;
    stack.log().await.assert_exactly_once();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_of_another_portal_is_refused() {
    let stack = Stack::with(100, 10)
        .another_portal(PortalConfig {
            portal_id: 99,
            tokens: vec!["other-token".to_owned()],
            ..PortalConfig::default()
        })
        .start()
        .await;
    stack.first_sync(json!({})).await;
    stack.simulator.assign_token(harness::stack::TOKEN, 99);
    let api = stack.api();
    api.stop("default").await;
    api.start("default", json!({})).await;
    let connection = api
        .until("the portal is refused", "default", HANG_LIMIT, |it| {
            it["observed"]["state"] == "failed"
        })
        .await;
    assert_eq!(connection["observed"]["error"]["code"], "portal_changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_connection_to_the_same_portal_is_refused() {
    let stack = Stack::with(100, 10).start().await;
    stack.first_sync(json!({})).await;
    let api = stack.api();
    api.start("twin", json!({})).await;
    let connection = api
        .until(
            "the second connection is refused",
            "twin",
            HANG_LIMIT,
            |it| it["observed"]["state"] == "failed",
        )
        .await;
    assert_eq!(connection["observed"]["error"]["code"], "portal_taken");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_oauth_token_is_refreshed() {
    let credential = json!({
        "client_id": "app", "client_secret": "app-secret", "refresh_token": "refresh-1",
    });
    let stack = Stack::with(2_000, 20)
        .portal(|portal| {
            portal.oauth = Some(hubspot_sim::OAuthConfig {
                client_id: "app".to_owned(),
                client_secret: "app-secret".to_owned(),
                refresh_token: "refresh-1".to_owned(),
                rotate: true,
                expires_in_s: 1_800,
            });
        })
        .credential("oauth.json", &credential.to_string())
        .start()
        .await;
    stack.simulator.set_latency(Duration::from_millis(20));
    let api = stack.api();
    api.start("default", json!({"credential": "file:oauth.json"}))
        .await;
    let portal_id = stack.simulator.portal().id();
    harness::eventually("the backfill runs", HANG_LIMIT, async || {
        (stack.simulator.requests().count(Kind::List) > 3).then_some(())
    })
    .await;
    stack.simulator.expire_access_tokens(portal_id);
    stack
        .first_sync(json!({"credential": "file:oauth.json"}))
        .await;
    stack.matches_truth("contacts").await;
    assert!(stack.simulator.requests().count(Kind::OAuth) >= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_shows_beforehand_what_each_type_can_do() {
    let stack = Stack::with(20, 10).start().await;
    let faults = stack.simulator.faults();
    for (form, object_type) in [
        (Refusal::NoArchivedList, "companies"),
        (Refusal::NoPermission, "deals"),
    ] {
        let refusal = Fault::Refused {
            form,
            category: None,
            correlation_id: true,
        };
        faults.push(Rule::any(refusal).of(object_type).always());
    }
    let api = stack.api();
    let settings = json!({"streams": ["contacts", "companies", "deals", "no_such_type"]});
    let path = "/v1/connections/default";
    assert_eq!(api.send("PUT", path, Some(settings)).await.status, 201);
    let path = "/v1/connections/default/check";
    let answer = api.send("POST", path, None).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let check = answer.body;
    assert_eq!(
        check["portal_id"],
        stack.simulator.portal().id().to_string()
    );
    let scopes = check["scopes"].as_array().unwrap();
    assert!(
        scopes.contains(&json!("crm.objects.contacts.read")),
        "{scopes:?}"
    );
    let of = |name: &str| {
        let streams = check["streams"].as_array().unwrap();
        let found = streams.iter().find(|it| it["name"] == name);
        found.unwrap().clone()
    };
    let refused = |name: &str| -> Vec<String> {
        let stream = of(name);
        let all = stream["capabilities"].as_array().unwrap().iter();
        let refused = all.filter(|it| it["works"] == false);
        refused
            .map(|it| it["error"]["code"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(refused("contacts"), Vec::<String>::new());
    assert_eq!(refused("companies"), ["no_archived_list"]);
    assert_eq!(refused("deals"), vec!["missing_scope"; 5]);
    assert_eq!(refused("no_such_type"), vec!["unknown_object_type"; 5]);
    let can_sync = ["contacts", "companies", "deals"].map(|it| of(it)["can_sync"] == true);
    assert_eq!(can_sync, [true, true, false]);
    // Nothing has changed.
    let connection = api.connection("default").await;
    assert_eq!(connection["state"], "stopped");
    assert_eq!(stack.log().await.records.len(), 0);

    stack.simulator.revoke_token(harness::stack::TOKEN);
    let answer = api.send("POST", path, None).await;
    assert_eq!(answer.body["error"]["code"], "unauthorized");
}
