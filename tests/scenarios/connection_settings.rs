//! The settings of a connection: which properties are read, how often passes are made,
//! and commands that are repeated.

use std::time::Instant;

use harness::{Api, HANG_LIMIT, Stack, api::stream, eventually, process::SHUTDOWN_LIMIT};
use hubspot_sim::{Kind, Seen};
use serde_json::{Value, json};

const PATH: &str = "/v1/connections/default";

/// Whether a request asks for the values of a property.
fn asks_for(request: &Seen, property: &str) -> bool {
    let named = |text: &str| text.split([',', '=', '"', '&']).any(|it| it == property);
    request.kind != Kind::Properties && (named(&request.query) || named(&request.body))
}

/// How many contacts have a value of a property, of the last versions in the log.
async fn with_value(stack: &Stack, property: &str) -> usize {
    let log = stack.log().await;
    let portal_id = stack.simulator.portal().id();
    let last = log.last_of(portal_id, "contacts");
    let records = last.values();
    records
        .filter(|it| it.properties.contains_key(property))
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn excluded_properties_are_never_fetched_and_leave_the_records() {
    let stack = Stack::with(150, 5).start().await;
    let api = stack.api();
    let settings = json!({"streams": ["contacts"],
        "properties": {"contacts": {"exclude": ["phone"]}}});
    stack.first_sync(settings).await;
    let requests = stack.simulator.requests();
    let all = requests.all();
    assert!(all.iter().any(|it| asks_for(it, "email")));
    assert!(!all.iter().any(|it| asks_for(it, "phone")));
    assert_eq!(with_value(&stack, "phone").await, 0);
    let emails = with_value(&stack, "email").await;
    assert!(emails > 100, "{emails}");

    // The other way round, at once and without a restart.
    let selected = json!({"properties": {"contacts": {"exclude": ["email"]}}});
    let changed_at = Instant::now();
    let answer = api.send("PATCH", PATH, Some(selected)).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    eventually("a full pass has read them again", HANG_LIMIT, async || {
        let phones = with_value(&stack, "phone").await;
        (phones > 100 && with_value(&stack, "email").await == 0).then_some(())
    })
    .await;
    // What was on its way when the command came may have had the old selection.
    let later = requests.since(changed_at);
    let applied = later.iter().position(|it| asks_for(it, "phone")).unwrap();
    assert!(!later[applied..].iter().any(|it| asks_for(it, "email")));
    let sql = "SELECT countIf(phone IS NOT NULL) > 100 AND countIf(email IS NOT NULL) = 0 \
               FROM hubspot.contacts";
    stack.sql_as_reader().until(sql, 1).await;

    // Only what is named, and what the sync needs.
    let selected = json!({"properties": {"contacts": {"include": ["firstname"]}}});
    assert_eq!(api.send("PATCH", PATH, Some(selected)).await.status, 200);
    eventually("only one property is left", HANG_LIMIT, async || {
        (with_value(&stack, "phone").await == 0).then_some(())
    })
    .await;
    assert!(with_value(&stack, "firstname").await > 100);
    let all = json!({"properties": {}});
    assert_eq!(api.send("PATCH", PATH, Some(all)).await.status, 200);
    eventually("all values are back", HANG_LIMIT, async || {
        (with_value(&stack, "email").await == emails).then_some(())
    })
    .await;
    stack.matches_truth("contacts").await;
}

/// The runs of contacts that have succeeded, by reason.
async fn succeeded(api: &Api, reason: &str) -> usize {
    let runs = api.get(&format!("{PATH}/runs")).await;
    let runs = runs["results"].as_array().unwrap();
    let counted = runs
        .iter()
        .filter(|it| it["reason"] == reason && it["outcome"] == "succeeded");
    counted.count()
}

#[tokio::test(flavor = "multi_thread")]
async fn passes_are_made_on_the_intervals_of_the_connection() {
    let stack = Stack::with(50, 5).start().await;
    let api = stack.api();
    let settings = json!({"streams": ["contacts"],
        "reconcile": {"late": "10s", "archived": "off", "full": "off"}});
    stack.first_sync(settings).await;
    eventually("two late runs were made", HANG_LIMIT, async || {
        (succeeded(&api, "late").await >= 2).then_some(())
    })
    .await;
    assert_eq!(succeeded(&api, "full").await, 0);
    let other = json!({"reconcile": {"late": "off", "full": "10s"}});
    assert_eq!(api.send("PATCH", PATH, Some(other)).await.status, 200);
    eventually("two full passes were made", HANG_LIMIT, async || {
        (succeeded(&api, "full").await >= 2).then_some(())
    })
    .await;
    assert_eq!(succeeded(&api, "archived").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_command_has_one_effect_also_at_another_instance_and_after_a_kill() {
    let mut stack = Stack::with(50, 5).start().await;
    stack.first_sync(json!({})).await;
    stack.add_data_streams();
    let [first, second] = [0, 1].map(|index| Api::new(stack.instances[index].port));
    second.ready().await;
    let sync = async |api: &Api| {
        let request = harness::api::client()
            .post(format!("{}{PATH}/sync", api.url()))
            .header("idempotency-key", "nightly")
            .json(&json!({"streams": ["contacts"]}));
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 202);
        serde_json::from_str::<Value>(&answer.text().await.unwrap()).unwrap()
    };
    let asked = sync(&first).await;
    let id = asked["request_id"].as_str().unwrap().to_owned();
    let is_done = |it: &Value| stream(it, "contacts")["request_done"] == json!(id);
    first
        .until("it is done", "default", HANG_LIMIT, is_done)
        .await;
    stack.instances[0].process.kill();
    assert_eq!(sync(&second).await["request_id"], json!(id));
    stack.restart_data_streams(0);
    let restarted = Api::new(stack.instances[0].port);
    restarted.ready().await;
    assert_eq!(sync(&restarted).await["request_id"], json!(id));
    let runs = restarted.get(&format!("{PATH}/runs?request_id={id}")).await;
    assert_eq!(runs["results"].as_array().unwrap().len(), 1, "{runs}");
    for instance in &mut stack.instances {
        instance.process.end(SHUTDOWN_LIMIT);
    }
}
