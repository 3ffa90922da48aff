//! Streams of associations, against the simulator.

use hubspot_sim::{Change, Fault, FaultBody, Kind, Refusal, Rule};
use schemas::ASSOCIATIONS;

use super::{
    simulator::{TestAccount, portal},
    *,
};
use crate::sync::{Capability, Object};

const STREAM: &str = "companies>contacts";

/// The company with the lowest id, and a contact.
fn ends(account: &TestAccount) -> (i64, u64) {
    let portal = account.simulator.portal();
    let company = i64::try_from(portal.ids("companies")[0]).unwrap();
    (company, portal.ids("contacts")[0])
}

fn associate(account: &TestAccount, company: i64, contact: u64, label: Option<&str>) {
    let change = Change::Associate {
        from_type: "companies".to_owned(),
        from: u64::try_from(company).unwrap(),
        to_type: "contacts".to_owned(),
        to: contact,
        label: label.map(str::to_owned),
    };
    account.simulator.portal().apply(&change).unwrap();
}

fn associations_of(object: &Object) -> Vec<schemas::Association> {
    let (name, json) = object.properties.iter().next().unwrap();
    assert_eq!((name, object.properties.len()), (ASSOCIATIONS, 1));
    serde_json::from_str(json).unwrap()
}

#[tokio::test]
async fn a_page_has_each_object_with_its_associations_and_nothing_else() {
    let account = TestAccount::of(portal()).await;
    let (company, contact) = ends(&account);
    associate(&account, company, contact, Some("Billing contact"));
    // More than HubSpot gives in one page of an object.
    for contact in account.simulator.portal().ids("contacts") {
        associate(&account, company, contact, None);
    }
    let known = account.simulator.portal().ids("contacts").len();
    for _ in known..600 {
        let made = account.simulator.portal().create("contacts", &[]);
        associate(&account, company, made.unwrap(), None);
    }
    let source = account.source("file:key", |_| {});
    let none = definitions(&[]);
    let page = source.list(STREAM, FIRST, &none).await.unwrap().value;
    let companies = account.simulator.portal().ids("companies").len();
    assert_eq!(page.objects.len(), companies);
    let first = page.objects.iter().find(|it| it.id == company).unwrap();
    let found = associations_of(first);
    assert_eq!(found.len(), 601);
    let labelled: Vec<_> = found.iter().filter(|it| it.label.is_some()).collect();
    assert_eq!(labelled[0].id, contact.to_string());
    assert_eq!(labelled[0].category, "USER_DEFINED");
    assert_eq!(account.simulator.requests().count(Kind::Associations), 2);

    let read = source.batch_read(STREAM, &[company, 1], false, &none).await;
    let read = read.unwrap().value;
    assert_eq!(
        (&read.objects[..], &read.missing[..]),
        (&[first.clone()][..], &[1][..])
    );
    let each = source.read_each(STREAM, &[company, 1], false, &none).await;
    assert_eq!(each.unwrap().value, read);
}

#[tokio::test]
async fn archived_objects_have_none_and_cost_no_request() {
    let account = TestAccount::of(portal()).await;
    let (company, _) = ends(&account);
    let source = account.source("file:key", |_| {});
    let none = definitions(&[]);
    let archived = ListRequest {
        archived: true,
        ..FIRST
    };
    let listed = source.list(STREAM, archived, &none).await.unwrap().value;
    assert_eq!(listed, ListPage::default());
    let read = source.batch_read(STREAM, &[company], true, &none).await;
    assert_eq!(read.unwrap().value.missing, [company]);
    let defined = source.definitions(STREAM).await.unwrap().value;
    assert_eq!((defined.len(), &*defined[0].name), (1, ASSOCIATIONS));
    let kind = Capability::Sensitive;
    let sensitive = source.sensitive_properties(STREAM, kind, None);
    assert_eq!(sensitive.await.unwrap(), (Vec::new(), 0));
    assert_eq!(account.simulator.requests().all().len(), 0);
    // Changes and counts are those of the objects.
    let found = source.search(STREAM, Search::HIGHEST).await.unwrap();
    let companies = i64::try_from(account.simulator.portal().ids("companies").len()).unwrap();
    assert_eq!(found.value.total, companies);
    let counted = source.record_count(STREAM).await.unwrap();
    assert_eq!(counted, Some(companies));
}

#[tokio::test]
async fn associations_that_may_not_be_read_skip_the_stream() {
    let account = TestAccount::of(portal()).await;
    let source = account.source("file:key", |_| {});
    let refusal = Fault::Refused {
        form: Refusal::NoPermission,
        category: None,
        correlation_id: true,
    };
    let faults = account.simulator.faults();
    faults.push(Rule::next(Kind::Associations, refusal));
    let failed = source.list(STREAM, FIRST, &definitions(&[])).await;
    let failed = failed.unwrap_err().error;
    assert_eq!(
        (failed.advice, failed.code),
        (Advice::SkipStream, "missing_scope")
    );
    let failed = source
        .list("companies>no_such", FIRST, &definitions(&[]))
        .await;
    assert_eq!(failed.unwrap_err().error.code, "unknown_object_type");
}

#[tokio::test]
async fn a_request_that_is_refused_for_one_id_may_shrink() {
    let account = TestAccount::of(portal()).await;
    let (company, _) = ends(&account);
    let refused = Fault::FailingObjects {
        ids: vec![u64::try_from(company).unwrap()],
        code: 400,
        body: FaultBody::Json,
    };
    let faults = account.simulator.faults();
    faults.push(Rule::next(Kind::Associations, refused).always());
    let source = account.source("file:key", |_| {});
    let failed = source.list(STREAM, FIRST, &definitions(&[])).await;
    let failed = failed.unwrap_err();
    assert_eq!(
        (failed.may_shrink, failed.error.code),
        (true, "request_refused")
    );
}
