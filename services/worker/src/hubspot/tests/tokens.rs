//! Tokens of all kinds, and those that lead to another account, against the simulator.

use hubspot_sim::{Fault, FaultBody, Kind, Limits, OAuthConfig, PortalConfig, Rule, TokenKind};

use super::{
    simulator::{TestAccount, portal},
    *,
};

#[tokio::test]
async fn a_token_read_again_reads_nothing_of_another_account() {
    let account = TestAccount::of(portal()).await;
    let source = account.source("file:key", |_| {});
    source.portal().await.unwrap();
    source.definitions("contacts").await.unwrap();
    std::fs::write(account.folder.path().join("key"), "of-another-account").unwrap();
    account.simulator.revoke_token("demo-token");

    // A token of the same account is asked for the account, once.
    account
        .simulator
        .assign_token("of-another-account", 4_711_001);
    let before = account.simulator.requests().all().len();
    let read = (0..3).map(|_| source.definitions("contacts"));
    for definitions in futures::future::join_all(read).await {
        definitions.unwrap();
    }
    let sent = account.simulator.requests().all().split_off(before);
    let with_new = |it: &&hubspot_sim::Seen| it.token == "of-another-account";
    let kinds: Vec<Kind> = sent.iter().filter(with_new).map(|it| it.kind).collect();
    assert_eq!(kinds[0], Kind::Details);
    let asked = kinds.iter().filter(|it| **it == Kind::Details).count();
    assert_eq!((asked, kinds.len()), (1, 4), "{kinds:?}");
}

#[tokio::test]
async fn a_token_of_another_account_ends_the_connection_before_anything_is_read() {
    let other = PortalConfig {
        portal_id: 99,
        tokens: vec!["of-another-account".to_owned()],
        ..portal()
    };
    let account = TestAccount::of_all(vec![portal(), other]).await;
    let source = account.source("file:key", |_| {});
    source.portal().await.unwrap();
    std::fs::write(account.folder.path().join("key"), "of-another-account").unwrap();
    account.simulator.revoke_token("demo-token");
    let failed = source
        .list("contacts", FIRST, &definitions(&["email"]))
        .await
        .unwrap_err()
        .error;
    assert_eq!(
        (failed.advice, failed.code),
        (Advice::StopConnection, "portal_changed")
    );
    let of_other = account.simulator.requests().all();
    let of_other = of_other.iter().filter(|it| it.portal_id == 99);
    assert!(of_other.clone().count() > 0);
    assert!(of_other.clone().all(|it| it.kind == Kind::Details));
}

/// An account with an OAuth app, whose credential is `file:app`.
async fn account_with_app(limits: Limits) -> TestAccount {
    let oauth = OAuthConfig {
        client_id: "app".to_owned(),
        client_secret: "hush".to_owned(),
        refresh_token: "first".to_owned(),
        rotate: false,
        expires_in_s: 1_800,
    };
    let account = TestAccount::of(PortalConfig {
        oauth: Some(oauth),
        limits,
        ..portal()
    })
    .await;
    let credential = r#"{"client_id":"app","client_secret":"hush","refresh_token":"first"}"#;
    std::fs::write(account.folder.path().join("app"), credential).unwrap();
    account
}

#[tokio::test]
async fn an_oauth_app_has_its_own_limit_and_no_allowance_for_the_day() {
    // The day of the account's private apps is spent.
    let limits = Limits {
        oauth: Some(40),
        daily: Some(1_000),
        daily_used: 1_000,
        ..Limits::default()
    };
    let account = account_with_app(limits).await;
    let source = account.source("file:app", |_| {});
    source.portal().await.unwrap();
    let definitions = definitions(&["email"]);
    let pages = (0..60).map(|_| source.list("contacts", FIRST, &definitions));
    for page in futures::future::join_all(pages).await {
        page.unwrap();
    }
    assert_eq!(source.rechecks_from(), None);
    let requests = account.simulator.requests();
    assert_eq!(requests.count(Kind::Usage), 0);
    assert_eq!(requests.answered(429), 0);
}

#[tokio::test]
async fn of_a_service_key_the_headers_say_how_much_of_the_day_is_left() {
    let limits = Limits {
        daily: Some(1_000),
        daily_used: 950,
        ..Limits::default()
    };
    let account = TestAccount::of(PortalConfig {
        token_kind: TokenKind::ServiceKey,
        limits,
        ..portal()
    })
    .await;
    let source = account.source("file:key", |_| {});
    // The usage of private apps does not count it.
    source.portal().await.unwrap();
    let failed = source.definitions("contacts").await.unwrap_err();
    assert_eq!(failed.code, "daily_limit");
}

#[tokio::test]
async fn scopes_are_those_of_the_token_and_none_where_hubspot_does_not_say() {
    let account = TestAccount::of(portal()).await;
    let source = account.source("file:key", |_| {});
    source.portal().await.unwrap();
    account.simulator.portal().set_scope("deals", false);
    let scopes = source.scopes().await.unwrap();
    assert!(scopes.is_sorted(), "{scopes:?}");
    let has = |name: &str| scopes.iter().any(|it| it == name);
    assert!(has("crm.objects.contacts.read"), "{scopes:?}");
    assert!(!has("crm.objects.deals.read"), "{scopes:?}");

    let gone = Fault::Status {
        code: 404,
        body: FaultBody::Json,
        retry_after: None,
    };
    let faults = account.simulator.faults();
    faults.push(Rule::next(Kind::TokenInfo, gone));
    assert_eq!(source.scopes().await, None);
}

#[tokio::test]
async fn scopes_of_an_oauth_app_come_with_its_token() {
    let account = account_with_app(Limits::default()).await;
    let source = account.source("file:app", |_| {});
    assert_eq!(source.scopes().await, None);
    source.portal().await.unwrap();
    let scopes = ["crm.objects.contacts.read", "oauth"].map(ToOwned::to_owned);
    assert_eq!(source.scopes().await, Some(scopes.to_vec()));
    assert_eq!(account.simulator.requests().count(Kind::TokenInfo), 0);
}
