//! Sensitive properties: their values arrive where the token has their scope, and are named
//! in the connection's answer where it has not.

use std::time::Duration;

use harness::{HANG_LIMIT, Stack, api::stream};
use hubspot_sim::{Definition, Sensitivity};
use serde_json::{Value, json};

/// Waits until this many contacts have a value of a property.
async fn until_stored(stack: &Stack, name: &str, expected: usize) {
    let sql = format!("SELECT countIf({name} IS NOT NULL) FROM hubspot.contacts");
    stack.sql_as_reader().until(&sql, expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn values_arrive_with_their_scope_and_are_named_without_it() {
    let stack = Stack::with(300, 10).start().await;
    let portal = stack.simulator.portal();
    for (name, sensitivity) in [
        ("illness", Sensitivity::Sensitive),
        ("bank_account", Sensitivity::HighlySensitive),
    ] {
        let definition = Definition {
            sensitivity,
            ..Definition::new(name, "string", "text")
        };
        portal.define_property("contacts", definition).unwrap();
    }
    let ids = portal.ids("contacts");
    let some: Vec<_> = ids.iter().step_by(10).copied().collect();
    for id in &some {
        let values = [("illness", "flu"), ("bank_account", "DE00")];
        portal.update("contacts", *id, &values).unwrap();
    }
    portal.set_sensitive_scope("contacts", Sensitivity::Sensitive, true);

    let connection = stack.first_sync(json!({"streams": ["contacts"]})).await;
    until_stored(&stack, "illness", some.len()).await;
    let limitations = stream(&connection, "contacts")["limitations"].clone();
    assert_eq!(limitations.as_array().unwrap().len(), 1, "{limitations}");
    let limitation = &limitations[0];
    assert_eq!(limitation["capability"], "highly_sensitive_properties");
    let says = |field: &str, text: &str| limitation[field].as_str().unwrap().contains(text);
    assert!(says("message", "bank_account"), "{limitation}");
    let scope = "crm.objects.contacts.highly_sensitive.read.v2";
    assert!(says("advice", scope), "{limitation}");
    let column = "SELECT count() FROM system.columns WHERE database = 'hubspot' AND \
                  table = 'contacts' AND name = 'bank_account'";
    assert_eq!(stack.sql().query(column).await.trim(), "0");

    // A check says the same, and that the other kind can be read.
    let path = "/v1/connections/default/check";
    let check = stack.api().send("POST", path, None).await.body;
    let tried = check["streams"][0]["capabilities"].as_array().unwrap();
    let refused: Vec<_> = tried.iter().filter(|it| it["works"] == false).collect();
    assert_eq!((tried.len(), refused.len()), (7, 1), "{check}");
    let error = &refused[0]["error"];
    assert_eq!(error["code"], "no_sensitive_properties");
    assert!(error["message"].as_str().unwrap().contains("bank_account"));

    // It is tried again after five minutes, at the begin of a run.
    portal.set_sensitive_scope("contacts", Sensitivity::HighlySensitive, true);
    stack.simulator.advance(Duration::from_mins(6));
    stack.sync().await;
    until_stored(&stack, "bank_account", some.len()).await;
    stack.matches_truth("contacts").await;
    let granted = |it: &Value| stream(it, "contacts")["limitations"] == json!([]);
    let api = stack.api();
    api.until("nothing is refused", "default", HANG_LIMIT, granted)
        .await;
}
