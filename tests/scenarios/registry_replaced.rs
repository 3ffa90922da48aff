//! The registry is emptied, or replaced by one in which our ids name other
//! schemas: no message is decoded with a wrong schema.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::{collections::BTreeSet, path::Path};

use harness::{
    HANG_LIMIT, Process, Stack, api, eventually, log,
    servers::{self, Server},
};
use schemas::lineage;
use serde_json::{Value, json};

async fn registry(data: &Path, port: Option<u16>) -> Server {
    let data = data.to_owned();
    tokio::task::spawn_blocking(move || {
        let mut server = match port {
            Some(port) => servers::start("registry", &data, port, &[]),
            None => servers::registry(&data),
        };
        servers::wait_until_ready(&mut server);
        server
    })
    .await
    .unwrap()
}

fn url(registry: &Server) -> String {
    format!("http://127.0.0.1:{}/apis/ccompat/v7", registry.port)
}

/// Registers foreign schemas, which get the ids that ours had.
async fn register_foreign_schemas(registry: &Server) {
    let http = api::client();
    for number in 0..8 {
        let subject = format!("{}/subjects/other-{number}/versions", url(registry));
        let schema = json!({"type": "record", "name": format!("Other{number}"), "fields": [
            {"name": "field", "type": "string"},
        ]});
        let body = json!({"schema": schema.to_string()}).to_string();
        eventually("a foreign schema is registered", HANG_LIMIT, async || {
            let request = http
                .post(&subject)
                .header("content-type", "application/vnd.schemaregistry.v1+json")
                .body(body.clone());
            let answer = request.send().await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await;
    }
}

fn restart_services(stack: &mut Stack) {
    stack.workers.last_mut().unwrap().kill();
    stack.instances.last_mut().unwrap().process.kill();
    stack.add_worker();
    stack.add_data_streams();
}

/// Readiness of the last instance, as JSON.
async fn readiness(stack: &Stack) -> Option<Value> {
    let url = format!("{}/health/ready", stack.api().url());
    let answer = api::client().get(url).send().await.ok()?;
    serde_json::from_str(&answer.text().await.ok()?).ok()
}

async fn letters(stack: &Stack) -> Value {
    stack.api().get("/v1/dead-letters").await["results"].clone()
}

/// Any consumer finds the schema of every message in the registry.
async fn assert_every_schema_is_registered(stack: &Stack, registry: &Server) {
    let mut ids = BTreeSet::new();
    for topic in [
        "commands",
        "checkpoints",
        "status",
        "definitions",
        "records",
    ] {
        for message in log::read_topic(stack.servers(), &stack.topic(topic)).await {
            ids.extend(message.value.as_deref().and_then(lineage::schema_id));
        }
    }
    for id in ids {
        let schema = format!("{}/schemas/ids/{id}", url(registry));
        let answer = api::client().get(schema).send().await;
        assert_eq!(answer.unwrap().status(), 200, "schema {id}");
    }
}

/// Services that start now wait, and name the remedy.
async fn assert_the_start_is_blocked(stack: &mut Stack) {
    let portal = stack.simulator.portal();
    let id = portal.ids("contacts")[0];
    portal.update("contacts", id, &[("city", "Oslo")]).unwrap();
    restart_services(stack);
    let asked = stack.simulator.requests().counts().total;
    let remedy = "restore its data, or use another TOPIC_PREFIX";
    eventually("both name the remedy", HANG_LIMIT, async || {
        let failure = readiness(stack).await?["failures"]["registry"].to_string();
        let worker = stack.workers.last()?.output();
        (failure.contains(remedy) && worker.contains(remedy)).then_some(())
    })
    .await;
    let answer = stack.api().send("GET", "/v1/connections", None).await;
    assert_eq!(answer.status, 503, "{}", answer.body);
    assert!(answer.headers.contains_key("retry-after"));
    assert!(stack.workers.last_mut().is_some_and(Process::is_running));
    assert_eq!(stack.simulator.requests().counts().total, asked);
}

/// A run succeeds, and there are no dead letters.
async fn assert_it_syncs(stack: &Stack, registry: &Server) {
    stack.api().ready().await;
    stack.sync().await;
    stack.matches_truth("contacts").await;
    assert_eq!(letters(stack).await, json!([]));
    assert_every_schema_is_registered(stack, registry).await;
}

async fn synced(registry: &Server) -> Stack {
    let stack = Stack::with(300, 10)
        .worker("REGISTRY_URL", &url(registry))
        .data_streams("REGISTRY_URL", &url(registry))
        .start()
        .await;
    stack.first_sync(json!({"streams": ["contacts"]})).await;
    stack.matches_truth("contacts").await;
    stack
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_whose_ids_name_other_schemas_blocks_the_start_until_restored() {
    let folder = tempfile::tempdir().unwrap();
    let ours = folder.path().join("ours");
    let mut server = registry(&ours, None).await;
    let port = Some(server.port);
    let mut stack = synced(&server).await;

    // Emptied: subjects are registered in a fixed order, so they get the same
    // ids again.
    server.process.kill();
    server = registry(&folder.path().join("emptied"), port).await;
    restart_services(&mut stack);
    assert_it_syncs(&stack, &server).await;

    server.process.kill();
    server = registry(&folder.path().join("foreign"), port).await;
    register_foreign_schemas(&server).await;
    assert_the_start_is_blocked(&mut stack).await;

    // Its data is restored: both services continue by themselves.
    server.process.kill();
    server = registry(&ours, port).await;
    assert_it_syncs(&stack, &server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_without_our_ids_blocks_the_start_until_restored() {
    let folder = tempfile::tempdir().unwrap();
    let ours = folder.path().join("ours");
    let mut server = registry(&ours, None).await;
    let port = Some(server.port);
    // Our schemas, and so all ids in the log, come after these.
    register_foreign_schemas(&server).await;
    let mut stack = synced(&server).await;

    server.process.kill();
    server = registry(&folder.path().join("emptied"), port).await;
    assert_the_start_is_blocked(&mut stack).await;

    server.process.kill();
    server = registry(&ours, port).await;
    assert_it_syncs(&stack, &server).await;
}
