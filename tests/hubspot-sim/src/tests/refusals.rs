//! Refusals of what a type or a token does not have.

use super::*;

const LIST: &str = "/crm/objects/2026-09/leads";

async fn refused(client: &Client, path: &str) -> (u16, Value) {
    let (status, mut body) = client.get(path).await;
    if let Some(fields) = body.as_object_mut() {
        assert!(fields.remove("correlationId").is_some());
    }
    (status, body)
}

#[tokio::test]
async fn a_403_of_one_type_may_have_no_category() {
    let simulator = simulator(5, |_| {}).await;
    let client = Client::of(&simulator);
    let rule = |kind: &str| {
        json!({"kind": kind, "object_type": "leads", "times": "always",
               "fault": {"fault": "refused", "form": "no_permission"}})
    };
    let kinds = ["properties", "list", "search", "batch_read"];
    fault(&client, json!(kinds.map(rule))).await;
    let message = "You do not have permissions to view_schema object type \
                   ObjectTypeId{legacyObjectType=LEAD} in portal 4711001 \
                   (requires one of [leads-read])";
    let expected = json!({"status": "error", "message": message});
    for _ in 0..2 {
        assert_eq!(refused(&client, LIST).await, (403, expected.clone()));
        let properties = "/crm/properties/2026-09/0-136";
        assert_eq!(refused(&client, properties).await, (403, expected.clone()));
        for path in ["search", "batch/read"] {
            let answer = client.post(&format!("{LIST}/{path}"), json!({})).await;
            assert_eq!((answer.0, &answer.1["message"]), (403, &json!(message)));
        }
    }
    assert_eq!(client.get(&format!("{LIST}?archived=true")).await.0, 200);
    assert_eq!(client.get("/crm/objects/2026-09/deals").await.0, 200);
}

#[tokio::test]
async fn a_refusal_may_have_another_category_and_no_correlation_id() {
    let simulator = simulator(5, |_| {}).await;
    let client = Client::of(&simulator);
    fault(
        &client,
        json!({"fault": {"fault": "refused", "form": "improper_token", "category": "FORBIDDEN",
                         "correlation_id": false}}),
    )
    .await;
    let request = client.http.get(format!("{}{LIST}", client.base));
    let answer = request.bearer_auth("demo-token").send().await.unwrap();
    assert!(!answer.headers().contains_key("x-hubspot-correlation-id"));
    let message = "This oauth-token (demo) does not have proper permissions!";
    let expected = json!({"status": "error", "message": message, "category": "FORBIDDEN"});
    assert_eq!(read(answer).await, (403, expected));
    fault(
        &client,
        json!({"fault": {"fault": "refused", "form": "forbidden"}}),
    )
    .await;
    assert_eq!(refused(&client, LIST).await.1["category"], "FORBIDDEN");
}

#[tokio::test]
async fn a_type_may_lack_an_archived_list_search_or_batch_read() {
    let simulator = simulator(5, |_| {}).await;
    let client = Client::of(&simulator);
    let rule = |form: &str| {
        json!({"object_type": "leads", "times": "always",
               "fault": {"fault": "refused", "form": form}})
    };
    let forms = ["no_archived_list", "no_search", "no_batch_read"];
    fault(&client, json!(forms.map(rule))).await;
    let message = "Paging through deleted objects is not yet supported";
    assert_eq!(
        refused(&client, &format!("{LIST}?archived=true")).await,
        (400, json!({"status": "error", "message": message}))
    );
    for path in ["search", "batch/read"] {
        let (status, _) = client.post(&format!("{LIST}/{path}"), json!({})).await;
        assert_eq!(status, 404);
    }
    assert_eq!(client.get(LIST).await.0, 200);
}

#[tokio::test]
async fn an_unknown_type_is_400_without_a_category() {
    let simulator = simulator(5, |_| {}).await;
    let client = Client::of(&simulator);
    let expected = |message: &str| (400, json!({"status": "error", "message": message}));
    assert_eq!(
        refused(&client, "/crm/objects/2026-09/cars").await,
        expected("Unable to infer object type from: cars")
    );
    assert_eq!(
        refused(&client, "/crm/properties/2026-09/0-9999").await,
        expected("Invalid object or event type id: 0-9999")
    );
    let rule = json!({"object_type": "leads", "times": "always",
                      "fault": {"fault": "refused", "form": "unknown_type"}});
    fault(&client, rule).await;
    assert_eq!(
        refused(&client, LIST).await,
        expected("Unable to infer object type from: leads")
    );
}

#[tokio::test]
async fn a_token_names_its_scopes() {
    let simulator = simulator(1, |_| {}).await;
    let client = Client::of(&simulator);
    let portal = simulator.portal();
    portal.set_scope("deals", false);
    portal.set_sensitive_scope("contacts", Sensitivity::Sensitive, true);
    let path = "/oauth/v2/private-apps/get/access-token-info";
    let (status, info) = client.post(path, json!({"tokenKey": "demo-token"})).await;
    assert_eq!((status, &info["hubId"]), (200, &json!(portal.id())));
    let scopes: Vec<&str> = info["scopes"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    assert!(scopes.contains(&"crm.objects.contacts.read"), "{scopes:?}");
    assert!(
        scopes.contains(&"crm.objects.contacts.sensitive.read.v2"),
        "{scopes:?}"
    );
    assert!(!scopes.contains(&"crm.objects.deals.read"), "{scopes:?}");
    assert_eq!(client.post(path, json!({"tokenKey": "other"})).await.0, 401);
    assert!(
        simulator
            .requests()
            .all()
            .iter()
            .all(|it| it.body.is_empty())
    );
}
