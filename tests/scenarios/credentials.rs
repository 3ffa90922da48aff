//! Credentials are references, and only some forms are allowed: the API refuses
//! the others, and so does the worker if a command bypassed the API.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use harness::{HANG_LIMIT, Stack, stack::TOKEN};
use rdkafka::{
    ClientConfig,
    producer::{FutureProducer, FutureRecord},
};
use schemas::{Command, DesiredState, codec, partition_for};
use serde_json::{Value, json};

/// Writes a command to Kafka, past the API.
async fn write_command(stack: &Stack, name: &str, credential: &str) {
    let shared = stack.servers();
    let topic = stack.topic("commands");
    let url = format!(
        "{}/subjects/{topic}-value/versions/latest",
        shared.registry_url()
    );
    let answer = harness::api::client().get(url).send().await.unwrap();
    let registered: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    let id = u32::try_from(registered["id"].as_u64().unwrap()).unwrap();
    let command = Command {
        command_id: format!("command-{name}"),
        connection: name.to_owned(),
        state: DesiredState::Running,
        credential: credential.to_owned(),
        streams: vec!["contacts".to_owned()],
        interval_ms: 3_600_000,
        destination: format!("hubspot_{name}"),
        ..Command::default()
    };
    let schema = codec::Schema::parse_str(schemas::command::SCHEMA).unwrap();
    let payload = codec::encode(&schema, id, &command).unwrap();
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", shared.bootstrap())
        .create()
        .unwrap();
    let record = FutureRecord::to(&topic)
        .key(name)
        .payload(&payload)
        .partition(partition_for(name.as_bytes(), 2));
    producer.send(record, HANG_LIMIT).await.unwrap();
}

fn assert_hubspot_got_no_request(stack: &Stack) {
    let asked = stack.simulator.requests().counts().total;
    assert_eq!(asked, 0, "no request was sent with any of them");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_credential_reference_is_refused_by_api_and_worker() {
    let stack = Stack::with(10, 1).credential("good", TOKEN).start().await;
    let api = stack.api();
    let absolute = format!("file:{}", stack.credentials().join("good").display());
    let refused = [
        "",
        "good",
        TOKEN,
        "file:",
        "file:../outside",
        "file:folder/../good",
        "file:./good",
        "file:.good",
        "file:/etc/hostname",
        &absolute,
        "FILE:good",
        "env:PATH",
        "env:HUBSPOT_",
        "env:XHUBSPOT_ACCESS_TOKEN",
        "env: HUBSPOT_ACCESS_TOKEN",
        "http://127.0.0.1/good",
        "vault:good",
    ];
    for (number, reference) in refused.iter().enumerate() {
        let settings = json!({"credential": reference});
        let answer = api
            .send("PUT", "/v1/connections/refused", Some(settings))
            .await;
        let what = format!("{reference:?}: {} {}", answer.status, answer.body);
        assert_eq!(answer.status, 422, "{what}");
        assert_eq!(answer.body["code"], "invalid_value", "{what}");
        assert!(!answer.body.to_string().contains("secret-token"), "{what}");
        // Others than the API can write commands too.
        write_command(&stack, &format!("direct_{number}"), reference).await;
    }
    for number in 0..refused.len() {
        let name = format!("direct_{number}");
        let connection = api
            .until("the reference is refused", &name, HANG_LIMIT, |it| {
                it["observed"]["state"] == "failed"
            })
            .await;
        let error = &connection["observed"]["error"];
        assert_eq!(error["code"], "credential_invalid", "{connection}");
    }
    assert_hubspot_got_no_request(&stack);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_credential_files_in_the_folder_are_read() {
    let stack = Stack::with(10, 1)
        .credential("good", TOKEN)
        .worker("HUBSPOT_EMPTY", "")
        .start()
        .await;
    let api = stack.api();
    let folder = stack.credentials();
    let outside = folder.parent().unwrap().join("outside");
    std::fs::write(&outside, TOKEN).unwrap();
    std::os::unix::fs::symlink(&outside, folder.join("escape")).unwrap();
    std::fs::create_dir(folder.join("folder")).unwrap();
    for reference in [
        "file:escape",
        "file:folder",
        "file:missing",
        "env:HUBSPOT_EMPTY",
    ] {
        api.start("named", json!({"credential": reference})).await;
        let connection = api
            .until("the reference is refused", "named", HANG_LIMIT, |it| {
                it["observed"]["state"] == "failed" && it["observed"]["obeyed"] == it["command_id"]
            })
            .await;
        let error = &connection["observed"]["error"];
        let expected = if reference == "file:missing" {
            "credential_missing"
        } else {
            "credential_invalid"
        };
        assert_eq!(error["code"], expected, "{reference}: {connection}");
        assert!(!error["advice"].as_str().unwrap().is_empty(), "{error}");
    }
    assert_hubspot_got_no_request(&stack);

    // With a valid reference the same connection continues.
    api.start(
        "named",
        json!({"credential": "file:good", "streams": ["contacts"]}),
    )
    .await;
    api.until("contacts are read", "named", HANG_LIMIT, |it| {
        !it["streams"][0]["last_success"].is_null()
    })
    .await;
}
