//! Sensitive properties: listed apart, and their values only with their scope.

use super::*;

const LIST: &str = "/crm/properties/2026-09/contacts";

/// A contact with a value of each sensitivity.
async fn with_values() -> (Simulator, Client) {
    let simulator = simulator(1, |_| {}).await;
    let client = Client::of(&simulator);
    for (name, sensitivity) in [("illness", "sensitive"), ("iban", "highly_sensitive")] {
        let change = json!({"op": "define_property", "object_type": "contacts",
            "definition": {"name": name, "kind": "string", "field_type": "text",
                           "sensitivity": sensitivity}});
        assert_eq!(client.post("/__sim/changes", change).await.0, 200);
    }
    let id = simulator.portal().ids("contacts")[0];
    let values = [("illness", "flu"), ("iban", "DE00")];
    simulator.portal().update("contacts", id, &values).unwrap();
    (simulator, client)
}

fn withhold(simulator: &Simulator, withheld: WithheldForm) {
    simulator.portal().set_quirks(Quirks {
        withheld,
        ..Quirks::default()
    });
}

/// Status and names of a list of properties.
async fn listed(client: &Client, query: &str) -> (u16, Vec<String>) {
    let (status, page) = client.get(&format!("{LIST}{query}")).await;
    let all = page["results"].as_array().cloned().unwrap_or_default();
    let names = all.iter().map(|it| it["name"].as_str().unwrap().to_owned());
    (status, names.collect())
}

/// Status, and the value of a property, of list, batch read and search.
async fn values(simulator: &Simulator, client: &Client, name: &str) -> Vec<(u16, Value)> {
    let id = simulator.portal().ids("contacts")[0].to_string();
    let objects = "/crm/objects/2026-09/contacts";
    let read = json!({"inputs": [{"id": id}], "properties": [name]});
    let search = json!({"filterGroups": [], "properties": [name]});
    let answers = [
        client.get(&format!("{objects}?properties={name}")).await,
        client.post(&format!("{objects}/batch/read"), read).await,
        client.post(&format!("{objects}/search"), search).await,
    ];
    let value = |page: &Value| page["results"][0]["properties"][name].clone();
    answers
        .iter()
        .map(|(code, page)| (*code, value(page)))
        .collect()
}

#[tokio::test]
async fn sensitive_properties_are_listed_apart_and_unknown_kinds_refused() {
    let (_simulator, client) = with_values().await;
    let names = ["illness".to_owned(), "iban".to_owned()];
    for query in ["", "?dataSensitivity=non_sensitive"] {
        let (status, all) = listed(&client, query).await;
        assert_eq!(status, 200);
        assert!(!all.is_empty() && !all.iter().any(|it| names.contains(it)));
    }
    let sensitive = listed(&client, "?dataSensitivity=sensitive").await;
    assert_eq!(sensitive, (200, vec!["illness".to_owned()]));
    let highly = listed(&client, "?dataSensitivity=highly_sensitive").await;
    assert_eq!(highly, (200, vec!["iban".to_owned()]));
    assert_eq!(listed(&client, "?dataSensitivity=secret").await.0, 400);
}

#[tokio::test]
async fn a_scope_shows_the_values_of_its_kind_only() {
    let (simulator, client) = with_values().await;
    let grant = json!({"object_type": "contacts", "sensitivity": "sensitive", "granted": true});
    assert_eq!(client.post("/__sim/scopes", grant).await.0, 200);
    for (code, value) in values(&simulator, &client, "illness").await {
        assert_eq!((code, value), (200, json!("flu")));
    }
    for (code, _) in values(&simulator, &client, "iban").await {
        assert_eq!(code, 403);
    }
    let (_, refused) = client
        .get("/crm/objects/2026-09/contacts?properties=iban")
        .await;
    let scopes = &refused["errors"][0]["context"]["requiredGranularScopes"];
    assert_eq!(
        scopes,
        &json!(["crm.objects.contacts.highly_sensitive.read.v2"])
    );
}

#[tokio::test]
async fn what_a_token_without_the_scope_gets_has_four_forms() {
    let (simulator, client) = with_values().await;
    for (form, list, listed_names, value) in [
        (WithheldForm::Refused, 200, 1, 403),
        (WithheldForm::LeftOut, 200, 1, 200),
        (WithheldForm::ListRefused, 403, 0, 403),
        (WithheldForm::ListEmpty, 200, 0, 200),
    ] {
        withhold(&simulator, form);
        let (status, names) = listed(&client, "?dataSensitivity=sensitive").await;
        assert_eq!((status, names.len()), (list, listed_names), "{form:?}");
        for answer in values(&simulator, &client, "illness").await {
            assert_eq!(answer, (value, Value::Null), "{form:?}");
        }
    }
}
