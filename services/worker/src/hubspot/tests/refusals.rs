//! What HubSpot refuses, and tokens that lead to another account, against the simulator.

use hubspot_sim::{Fault, FaultBody, Kind, PortalConfig, Rule};

use super::{
    simulator::{TestAccount, portal},
    *,
};
use crate::sync::Capability;

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

#[tokio::test]
async fn objects_are_read_one_by_one_where_there_is_no_batch_read() {
    let account = TestAccount::of(portal()).await;
    let source = account.source("file:key", |_| {});
    let refusal = Fault::Status {
        code: 405,
        body: FaultBody::Json,
        retry_after: None,
    };
    let faults = account.simulator.faults();
    faults.push(Rule::next(Kind::BatchRead, refusal).always());
    let ids: Vec<i64> = account.simulator.portal().ids("contacts")[..20]
        .iter()
        .map(|id| i64::try_from(*id).unwrap())
        .collect();
    let properties = definitions(&["email"]);
    let asked = [&ids[..], &[1]].concat();
    let failed = source
        .batch_read("contacts", &asked, false, &properties)
        .await;
    assert_eq!(
        failed.unwrap_err().error.advice,
        Advice::DoWithout(Capability::BatchRead)
    );
    let read = source
        .read_each("contacts", &asked, false, &properties)
        .await;
    let read = read.unwrap().value;
    assert_eq!(read.missing, [1]);
    assert_eq!(super::ids(&read.objects), ids);
    assert!(
        read.objects
            .iter()
            .any(|it| it.properties.iter().count() > 0)
    );
    // So are the objects of a page whose properties do not fit into a URL.
    let wide = account.source("file:key", |config| config.longest_url = 150);
    let page = wide.list("contacts", FIRST, &properties).await.unwrap();
    assert_eq!(page.value.objects.len(), 100);
}
