//! Consumers without our code: Confluent's Python client and ClickHouse's Kafka
//! engine.

use harness::{Stack, servers, stack_command};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_python_consumer_reads_every_record() {
    let stack = Stack::with(700, 70).start().await;
    stack.first_sync(json!({})).await;
    let script = servers::root().join("tests/python/consume.py");
    let script = script.display().to_string();
    let shared = servers::KafkaAndRegistry::shared();
    let (bootstrap, registry) = (shared.bootstrap(), shared.registry_url());
    let topic = stack.topic("records");
    let arguments = ["python", &script, &bootstrap, &registry, &topic];
    let printed = stack_command(&arguments, &[]).await;
    let seen: serde_json::Value = serde_json::from_str(&printed).expect("the script prints JSON");
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
    let kept = "SELECT uniqExact(object_type, object_id) FROM other.kept";
    sql.until(kept, 330).await;
}
