//! Errors of HubSpot, and the state that the API then shows.

use std::time::Duration;

use harness::{HANG_LIMIT, Stack, api::stream};
use hubspot_sim::{Fault, Kind, PortalConfig, Rule};
use serde_json::json;

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
async fn a_revoked_token_fails_the_connection_with_a_reason() {
    let stack = Stack::with(200, 20).start().await;
    stack.first_sync(json!({})).await;
    stack.simulator.revoke_token(harness::stack::TOKEN);
    let api = stack.api();
    api.sync("default").await;
    let connection = api
        .until("the connection has failed", "default", HANG_LIMIT, |it| {
            it["observed"]["state"] == "failed"
        })
        .await;
    assert_eq!(connection["observed"]["error"]["code"], "unauthorized");
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
