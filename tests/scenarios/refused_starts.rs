//! A service refuses to start with topics of another shape, and names the remedy.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use harness::{HANG_LIMIT, Process, servers::KafkaAndRegistry, stack};
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
};

async fn create(topic: &str, partitions: i32, cleanup: &str) {
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", KafkaAndRegistry::shared().bootstrap())
        .create()
        .unwrap();
    let new =
        NewTopic::new(topic, partitions, TopicReplication::Fixed(1)).set("cleanup.policy", cleanup);
    for outcome in admin
        .create_topics([&new], &AdminOptions::new())
        .await
        .unwrap()
    {
        outcome.unwrap();
    }
}

fn start(name: &str, prefix: &str, folder: &tempfile::TempDir) -> Process {
    let shared = KafkaAndRegistry::shared();
    let variables = [
        ("KAFKA_BOOTSTRAP", shared.bootstrap()),
        ("REGISTRY_URL", shared.registry_url()),
        ("TOPIC_PREFIX", prefix.to_owned()),
        ("CONTROL_PARTITIONS", "2".to_owned()),
        ("RECORD_PARTITIONS", "4".to_owned()),
        ("API_ADDRESS", "127.0.0.1:0".to_owned()),
        ("CLICKHOUSE_URL", "http://127.0.0.1:9".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value));
    let log = folder.path().join(format!("{prefix}{name}.log"));
    stack::service(name, &variables, &log)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_with_other_partitions_or_cleanup_policy_is_refused_with_a_remedy() {
    tokio::task::spawn_blocking(KafkaAndRegistry::shared)
        .await
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let cases = [
        (
            "count-control",
            "status",
            3,
            "compact",
            "CONTROL_PARTITIONS=3",
        ),
        (
            "count-records",
            "records",
            2,
            "compact",
            "RECORD_PARTITIONS=2",
        ),
        (
            "policy-compact",
            "commands",
            2,
            "delete",
            "cleanup.policy=compact",
        ),
        (
            "policy-delete",
            "dead-letters",
            4,
            "compact",
            "cleanup.policy=delete",
        ),
    ];
    for (case, topic, partitions, cleanup, remedy) in cases {
        let prefix = format!("r{}-{case}.", std::process::id());
        let topic = format!("{prefix}{topic}");
        create(&topic, partitions, cleanup).await;
        for service in ["worker", "data-streams"] {
            let mut process = start(service, &prefix, &folder);
            let output = tokio::task::block_in_place(|| process.until_failed(HANG_LIMIT));
            for part in [topic.as_str(), remedy, "TOPIC_PREFIX"] {
                assert!(output.contains(part), "{case}, {service}, {part}: {output}");
            }
            // Its output is no terminal, so each line is JSON.
            let last = output.lines().last().unwrap_or_default();
            let line: serde_json::Value = serde_json::from_str(last).unwrap();
            assert_eq!(line["level"], "ERROR", "{line}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_wrong_settings_are_reported_at_once_before_anything_starts() {
    // By service: a setting, its value, and what the report names.
    let cases = [
        (
            "worker",
            [
                ("LANES", "0", "--lanes"),
                ("LATE_INTERVAL", "soon", "--late-interval"),
                ("HUBSPOT_BASE_URL", "api.hubapi.com", "--hubspot-base-url"),
                ("TRANSACTION_RECORDS", "0", "at least 1"),
                ("TOPIC_PREFIX", "crm/", "--topic-prefix"),
                ("KAFKA_PRODUCER_SETTINGS", "linger=5", "no setting linger"),
                ("KAFKA_SECURITY", "sasl_ssl", "KAFKA_SASL_MECHANISM"),
                ("REGISTRY_CA_FILE", "/nowhere", "REGISTRY_CA_FILE"),
            ],
        ),
        (
            "data-streams",
            [
                ("BATCH_ROWS", "0", "BATCH_ROWS"),
                ("CLICKHOUSE_URL", "clickhouse:8123", "https://host"),
                ("REGISTRY_URL", "registry", "--registry-url"),
                ("KAFKA_BOOTSTRAP", "kafka", "host:port"),
                (
                    "KAFKA_CONSUMER_SETTINGS",
                    "check.crcs=perhaps",
                    "check.crcs",
                ),
                ("API_ADDRESS", "0.0.0.0:0", "API_TOKEN"),
                ("CLICKHOUSE_COMPRESSION", "zip", "none, lz4"),
                (
                    "CLICKHOUSE_PASSWORD_FILE",
                    "/nowhere",
                    "CLICKHOUSE_PASSWORD_FILE",
                ),
            ],
        ),
    ];
    let folder = tempfile::tempdir().unwrap();
    for (name, wrong) in cases {
        let nowhere = "127.0.0.1:9";
        let servers = [
            ("KAFKA_BOOTSTRAP", nowhere.to_owned()),
            ("REGISTRY_URL", format!("http://{nowhere}")),
            ("CLICKHOUSE_URL", format!("http://{nowhere}")),
        ];
        let wrong_values = wrong.map(|(name, value, _)| (name, value.to_owned()));
        let variables = servers.into_iter().chain(wrong_values);
        let variables: Vec<_> = variables
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        let log = folder.path().join(name);
        let mut process = stack::service(name, &variables, &log);
        let why = "its settings are wrong";
        process.until_ended(HANG_LIMIT, why).await;
        let told = process.output();
        for (setting, _, named) in wrong {
            assert!(told.contains(named), "{setting}: no {named} in {told}");
        }
        assert!(told.contains("settings are wrong:"), "{told}");
    }
}
