//! Consumers without our code: Confluent's Python client and ClickHouse's Kafka
//! engine.

use std::process::Command;

use harness::{HANG_LIMIT, Stack, servers};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_python_consumer_reads_every_record() {
    let stack = Stack::with(700, 70).start().await;
    stack.first_sync(json!({})).await;
    let script = servers::root().join("tests/python/consume.py");
    let shared = servers::KafkaAndRegistry::shared();
    let output = tokio::task::spawn_blocking({
        let topic = stack.topic("records");
        move || {
            Command::new(servers::root().join("infra/native/stack"))
                .arg("python")
                .arg(script)
                .args([&shared.bootstrap(), &shared.registry_url(), &topic])
                .output()
                .unwrap()
        }
    })
    .await
    .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let seen: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("the script prints JSON");
    assert_eq!(seen["contacts"], 700, "{seen}");
    assert_eq!(seen["companies"], 70, "{seen}");
}

#[tokio::test(flavor = "multi_thread")]
async fn clickhouses_kafka_engine_reads_every_record() {
    let stack = Stack::with(300, 30).start().await;
    stack.first_sync(json!({})).await;
    let shared = servers::KafkaAndRegistry::shared();
    let sql = stack.sql();
    sql.query("CREATE DATABASE other").await;
    sql.query(&format!(
        "CREATE TABLE other.queue (object_type String, object_id Int64, \
         properties Map(String, Nullable(String))) ENGINE = Kafka SETTINGS \
         kafka_broker_list = '{}', kafka_topic_list = '{}', kafka_group_name = 'other', \
         kafka_format = 'AvroConfluent', format_avro_schema_registry_url = '{}'",
        shared.bootstrap(),
        stack.topic("records"),
        shared.registry_url(),
    ))
    .await;
    sql.query(
        "CREATE TABLE other.kept (object_type String, object_id Int64, \
         properties Map(String, Nullable(String))) ENGINE = MergeTree ORDER BY object_id",
    )
    .await;
    sql.query("CREATE MATERIALIZED VIEW other.flow TO other.kept AS SELECT * FROM other.queue")
        .await;
    harness::eventually("ClickHouse has read all", HANG_LIMIT, async || {
        let count = sql
            .number("SELECT uniqExact(object_type, object_id) FROM other.kept")
            .await;
        (count == 330).then_some(())
    })
    .await;
}
