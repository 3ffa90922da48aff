//! Sensitive properties: read where the token may, named where not.

use hubspot_sim::{Definition, Kind, PortalConfig, Quirks, Sensitivity, WithheldForm};

use schemas::PropertySelection;

use super::{
    simulator::{TestAccount, portal},
    *,
};
use crate::sync::Capability;

/// An account with a sensitive property, and its source.
async fn account() -> (TestAccount, HubSpot) {
    account_of(portal()).await
}

async fn account_of(portal: PortalConfig) -> (TestAccount, HubSpot) {
    let account = TestAccount::of(portal).await;
    let definition = Definition {
        sensitivity: Sensitivity::Sensitive,
        ..Definition::new("illness", "string", "text")
    };
    let portal = account.simulator.portal();
    portal.define_property("contacts", definition).unwrap();
    let source = account.source("file:key", |_| {});
    (account, source)
}

async fn read(source: &HubSpot) -> Result<(Vec<String>, i64), SourceError> {
    let read = source.sensitive_properties("contacts", Capability::Sensitive, None);
    let (properties, requests) = read.await?;
    let names = properties.into_iter().map(|it| it.name);
    Ok((names.collect(), requests))
}

#[tokio::test]
async fn what_the_token_may_read_is_read_once_an_hour() {
    let (account, source) = account().await;
    let portal = account.simulator.portal();
    portal.set_sensitive_scope("contacts", Sensitivity::Sensitive, true);
    let names = vec!["illness".to_owned()];
    // No object has a value yet: neither the first one, nor one that search finds.
    assert_eq!(read(&source).await.unwrap(), (names.clone(), 3));
    assert_eq!(read(&source).await.unwrap(), (names, 0));
    assert_eq!(account.simulator.requests().count(Kind::Properties), 1);
    // It has no highly sensitive ones, which is one request.
    let none = source.sensitive_properties("contacts", Capability::HighlySensitive, None);
    assert_eq!(none.await.unwrap(), (Vec::new(), 1));
}

#[tokio::test]
async fn values_that_are_excluded_are_not_even_tried() {
    let (account, source) = account().await;
    let without = PropertySelection {
        stream: "contacts".to_owned(),
        is_exclusion: true,
        names: vec!["illness".to_owned()],
    };
    // The token may not read them, so a try would be refused.
    for requests in [1, 0] {
        let read = source.sensitive_properties("contacts", Capability::Sensitive, Some(&without));
        assert_eq!(read.await.unwrap().1, requests);
    }
    assert_eq!(account.simulator.requests().count(Kind::List), 0);
    assert!(read(&source).await.is_err(), "tried once it is selected");
}

#[tokio::test]
async fn a_refusal_names_the_properties_where_they_are_listed_and_the_scope() {
    let (account, source) = account().await;
    for (form, named) in [
        (WithheldForm::Refused, "illness"),
        (WithheldForm::ListRefused, "sensitive properties"),
    ] {
        account.simulator.portal().set_quirks(Quirks {
            withheld: form,
            ..Quirks::default()
        });
        let refusal = read(&source).await.unwrap_err();
        assert_eq!(refusal.advice, Advice::DoWithout(Capability::Sensitive));
        assert!(refusal.problem.contains(named), "{}", refusal.problem);
        let scope = "crm.objects.contacts.sensitive.read.v2";
        assert!(refusal.remedy.contains(scope), "{}", refusal.remedy);
    }
}

#[tokio::test]
async fn values_left_out_of_answers_are_noticed_once_an_object_has_one() {
    let empty = PortalConfig {
        contacts: 0,
        ..portal()
    };
    let (account, source) = account_of(empty).await;
    let portal = account.simulator.portal();
    portal.set_quirks(Quirks {
        withheld: WithheldForm::LeftOut,
        index_lag_ms: 0,
        ..Quirks::default()
    });
    for _ in 0..2 {
        assert_eq!(read(&source).await.unwrap().1, 2, "there is no object");
    }
    portal.create("contacts", &[]).unwrap();
    // Nothing is left out of an object without values.
    assert_eq!(read(&source).await.unwrap().1, 3);
    portal.create("contacts", &[("illness", "flu")]).unwrap();
    source.forget_sensitive("contacts");
    let refusal = read(&source).await.unwrap_err();
    assert_eq!(refusal.advice, Advice::DoWithout(Capability::Sensitive));
    assert!(refusal.problem.contains("illness"), "{}", refusal.problem);
    portal.set_sensitive_scope("contacts", Sensitivity::Sensitive, true);
    assert_eq!(read(&source).await.unwrap().0, ["illness"]);
}

#[tokio::test]
async fn values_that_only_another_object_has_are_found_and_read() {
    let (account, source) = account().await;
    let portal = account.simulator.portal();
    portal.set_quirks(Quirks {
        index_lag_ms: 0,
        ..Quirks::default()
    });
    portal.create("contacts", &[("illness", "flu")]).unwrap();
    portal.set_sensitive_scope("contacts", Sensitivity::Sensitive, true);
    // The list, the first object, a search, and a read of what it has found.
    let names = vec!["illness".to_owned()];
    assert_eq!(read(&source).await.unwrap(), (names, 4));
}

#[tokio::test]
async fn what_was_learnt_is_tested_again_after_it_was_forgotten() {
    let (account, source) = account().await;
    let portal = account.simulator.portal();
    portal.set_sensitive_scope("contacts", Sensitivity::Sensitive, true);
    read(&source).await.unwrap();
    portal.set_sensitive_scope("contacts", Sensitivity::Sensitive, false);
    assert!(read(&source).await.is_ok(), "it is kept for an hour");
    source.forget_sensitive("contacts");
    assert!(read(&source).await.is_err());
}

#[tokio::test]
async fn a_read_refused_after_the_scope_went_makes_the_next_one_test_it_again() {
    let (account, source) = account().await;
    let portal = account.simulator.portal();
    portal.set_sensitive_scope("contacts", Sensitivity::Sensitive, true);
    read(&source).await.unwrap();
    portal.set_sensitive_scope("contacts", Sensitivity::Sensitive, false);
    let definitions = definitions(&["illness"]);
    let page = source.list("contacts", FIRST, &definitions);
    assert_eq!(page.await.unwrap_err().error.advice, Advice::SkipStream);
    let refusal = read(&source).await.unwrap_err();
    assert_eq!(refusal.advice, Advice::DoWithout(Capability::Sensitive));
}

#[tokio::test]
async fn a_server_that_does_not_know_the_parameter_has_no_sensitive_properties() {
    let body = br#"{"results": [{"name": "a", "dataSensitivity": "non_sensitive"}, {"name": "b"},
                    {"name": "c", "dataSensitivity": "sensitive"}]}"#;
    let properties = wire::properties_of(body, "sensitive").unwrap();
    assert_eq!(properties.len(), 1);
    assert_eq!(properties[0].name, "c");
}
