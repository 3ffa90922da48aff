//! The client against the simulator: quirks, faults, limits, OAuth.

use std::time::Duration;

use hubspot_sim::{
    Config, Digest, Fault, FaultBody, Kind, Limits, OAuthConfig, Policy, PortalConfig, Quirks,
    Rule, Simulator, object_hash,
};

use super::*;
use crate::sync::Object;

pub(super) struct TestAccount {
    pub(super) simulator: Simulator,
    pub(super) folder: tempfile::TempDir,
}

impl TestAccount {
    pub(super) async fn of(portal: PortalConfig) -> Self {
        Self::of_all(vec![portal]).await
    }

    pub(super) async fn of_all(portals: Vec<PortalConfig>) -> Self {
        let config = Config {
            portals,
            ..Config::default()
        };
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("key"), "demo-token").unwrap();
        Self {
            simulator: Simulator::start(config).await.unwrap(),
            folder,
        }
    }

    pub(super) fn source(
        &self,
        credential: &str,
        change: impl FnOnce(&mut HubSpotConfig),
    ) -> HubSpot {
        let mut config = HubSpotConfig {
            credentials_dir: self.folder.path().to_owned(),
            headers_timeout: Duration::from_secs(2),
            ..HubSpotConfig::at(self.simulator.base_url().parse().unwrap())
        };
        change(&mut config);
        HubSpot::connect(&config, &http(&config), credential, Arc::new(|| true)).unwrap()
    }
}

pub(super) fn portal() -> PortalConfig {
    PortalConfig {
        contacts: 450,
        archived_percent: 4.0,
        ..PortalConfig::default()
    }
}

async fn all(source: &HubSpot) -> Vec<Object> {
    let properties = source.definitions("contacts").await.unwrap().value;
    let definitions = Definitions {
        properties,
        ..definitions(&[])
    };
    let mut objects = Vec::new();
    for archived in [false, true] {
        let mut after = None;
        loop {
            let page = source
                .list(
                    "contacts",
                    ListRequest {
                        archived,
                        after: after.as_deref(),
                        ..FIRST
                    },
                    &definitions,
                )
                .await;
            let page = page.unwrap().value;
            objects.extend(page.objects);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
    }
    objects
}

fn digest(objects: &[Object]) -> Digest {
    let hash = |object: &Object| {
        let id = u64::try_from(object.id).unwrap();
        object_hash(
            id,
            object.updated_at,
            object.archived,
            object.properties.iter(),
        )
    };
    objects.iter().map(hash).collect()
}

#[tokio::test]
async fn every_record_is_read_unchanged_in_both_ways_of_listing() {
    let account = TestAccount::of(portal()).await;
    let truth = account.simulator.truth("contacts").unwrap();
    for longest_url in [12_000, 200] {
        let source = account.source("file:key", |config| config.longest_url = longest_url);
        assert_eq!(source.portal().await.unwrap().portal_id, 4_711_001);
        let objects = all(&source).await;
        assert_eq!(objects.len() as u64, truth.count);
        assert_eq!(
            digest(&objects),
            truth.digest,
            "URLs of up to {longest_url}"
        );
    }
    assert_eq!(account.simulator.requests().answered(429), 0);
}

#[tokio::test]
async fn after_a_414_ids_are_listed_and_properties_read_by_id() {
    let quirks = Quirks {
        max_url: 400,
        ..Quirks::default()
    };
    let account = TestAccount::of(PortalConfig { quirks, ..portal() }).await;
    let source = account.source("file:key", |_| {});
    let objects = all(&source).await;
    assert_eq!(
        digest(&objects),
        account.simulator.truth("contacts").unwrap().digest
    );
}

#[tokio::test]
async fn network_and_proxy_faults_are_retried() {
    let account = TestAccount::of(portal()).await;
    let source = account.source("file:key", |config| {
        config.body_timeout = Duration::from_secs(1);
    });
    for fault in [
        Fault::Reset,
        Fault::CutBody { after: 300 },
        Fault::NotJson,
        Fault::Status {
            code: 502,
            body: FaultBody::Html,
            retry_after: None,
        },
        Fault::Status {
            code: 503,
            body: FaultBody::Empty,
            retry_after: Some(1),
        },
        Fault::SlowBody {
            pieces: 40,
            pause_ms: 100,
        },
        Fault::RateLimited {
            policy: Policy::TenSecondlyRolling,
            retry_after: Some(1),
        },
    ] {
        account
            .simulator
            .faults()
            .push(Rule::next(Kind::List, fault.clone()));
        let page = source
            .list("contacts", FIRST, &definitions(&["email"]))
            .await;
        assert_eq!(page.unwrap().value.objects.len(), 100, "{fault:?}");
        assert!(account.simulator.faults().waiting().is_empty());
    }
}

fn change(account: &TestAccount, count: usize) -> Vec<u64> {
    let changed: Vec<u64> = account
        .simulator
        .portal()
        .ids("contacts")
        .into_iter()
        .take(count)
        .collect();
    for id in &changed {
        let values = [("firstname", "Changed")];
        account
            .simulator
            .portal()
            .update("contacts", *id, &values)
            .unwrap();
    }
    changed
}

async fn found_since(source: &HubSpot, from: Millis) -> Vec<i64> {
    let mut found = Vec::new();
    loop {
        let after_id = found.last().copied().unwrap_or(0);
        let search = Search {
            from,
            to: None,
            after_id,
            highest: false,
        };
        let page = source.search("contacts", search).await.unwrap().value;
        found.extend(page.ids);
        if !page.more {
            break;
        }
    }
    found
}

#[tokio::test]
async fn changes_are_found_by_search_and_read_by_id() {
    let quirks = Quirks {
        index_lag_ms: 0,
        ..Quirks::default()
    };
    let account = TestAccount::of(PortalConfig { quirks, ..portal() }).await;
    let source = account.source("file:key", |_| {});
    let from = source.portal().await.unwrap().now;
    account.simulator.advance(Duration::from_mins(1));
    let changed = change(&account, 250);
    let found = found_since(&source, from + 30_000).await;
    assert_eq!(
        found,
        changed
            .iter()
            .map(|id| i64::try_from(*id).unwrap())
            .collect::<Vec<_>>()
    );
    let ids = [&found[..50], &[1]].concat();
    let properties = definitions(&["firstname"]);
    let read = source
        .batch_read("contacts", &ids, false, &properties)
        .await
        .unwrap()
        .value;
    assert_eq!(read.missing, [1]);
    assert_eq!(read.objects.len(), 50);
    let named = |object: &Object| {
        object
            .properties
            .iter()
            .any(|pair| pair == ("firstname", "Changed"))
    };
    assert!(read.objects.iter().all(named));
    assert!(source.now() >= from + 59_000, "the clock is HubSpot's");
}

#[tokio::test]
async fn a_limit_is_used_fully_without_a_429() {
    let limits = Limits {
        general: Some(60),
        ..Limits::default()
    };
    let account = TestAccount::of(PortalConfig { limits, ..portal() }).await;
    account.simulator.set_latency(Duration::from_millis(20));
    let source = account.source("file:key", |_| {});
    source.portal().await.unwrap();
    let definitions = definitions(&["email"]);
    let began = std::time::Instant::now();
    let pages = (0..100).map(|_| source.list("contacts", FIRST, &definitions));
    for page in futures::future::join_all(pages).await {
        page.unwrap();
    }
    assert!(began.elapsed() >= Duration::from_secs(9));
    assert!(began.elapsed() < Duration::from_secs(14));
    assert_eq!(account.simulator.requests().answered(429), 0);
}

#[tokio::test]
async fn a_spent_daily_allowance_waits_for_the_reset() {
    let limits = Limits {
        daily: Some(1_000),
        daily_used: 950,
        ..Limits::default()
    };
    let account = TestAccount::of(PortalConfig { limits, ..portal() }).await;
    let source = account.source("file:key", |_| {});
    source.portal().await.unwrap();
    let failed = source.definitions("contacts").await.unwrap_err();
    assert_eq!(failed.code, "daily_limit");
    let Advice::WaitUntil(until) = failed.advice else {
        panic!("{failed:?}")
    };
    assert!(until > source.now() && until <= source.now() + 86_410_000);
}

#[tokio::test]
async fn expired_tokens_are_renewed_and_a_revoked_grant_stops_the_connection() {
    let oauth = OAuthConfig {
        client_id: "app".to_owned(),
        client_secret: "hush".to_owned(),
        refresh_token: "first".to_owned(),
        rotate: true,
        expires_in_s: 1_800,
    };
    let account = TestAccount::of(PortalConfig {
        oauth: Some(oauth),
        ..portal()
    })
    .await;
    let credential = r#"{"client_id":"app","client_secret":"hush","refresh_token":"first"}"#;
    std::fs::write(account.folder.path().join("app"), credential).unwrap();
    let source = account.source("file:app", |_| {});
    source.portal().await.unwrap();
    account.simulator.expire_access_tokens(4_711_001);
    assert!(source.definitions("contacts").await.is_ok());
    assert_eq!(account.simulator.requests().count(Kind::OAuth), 2);
    // A restart finds the rotated token.
    let again = account.source("file:app", |_| {});
    assert!(again.portal().await.is_ok());
    account.simulator.revoke_grant(4_711_001);
    account.simulator.expire_access_tokens(4_711_001);
    let failed = again.definitions("contacts").await.unwrap_err();
    assert_eq!(
        (failed.advice, failed.code),
        (Advice::StopConnection, "revoked")
    );
}

#[tokio::test]
async fn a_missing_scope_skips_the_stream_and_an_unknown_token_stops_the_connection() {
    let account = TestAccount::of(portal()).await;
    let source = account.source("file:key", |_| {});
    account.simulator.portal().set_scope("contacts", false);
    let failed = source.definitions("contacts").await.err();
    let failed = match failed {
        Some(failed) => failed,
        None => {
            source
                .list("contacts", FIRST, &definitions(&[]))
                .await
                .unwrap_err()
                .error
        }
    };
    assert_eq!(
        (failed.advice, failed.code),
        (Advice::SkipStream, "missing_scope")
    );
    assert!(failed.problem.contains("crm."), "{}", failed.problem);
    account.simulator.revoke_token("demo-token");
    let failed = source.portal().await.unwrap_err();
    assert_eq!(
        (failed.advice, failed.code),
        (Advice::StopConnection, "unauthorized")
    );
}
