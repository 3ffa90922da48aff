//! A Kafka of three brokers, any of which may die.

use std::path::Path;

use super::{Server, free_port, server::start, wait_until_ready};

/// What makes three brokers one cluster that loses nothing with one of them.
const REPLICATED: &str = "\
default.replication.factor=3
min.insync.replicas=2
offsets.topic.replication.factor=3
transaction.state.log.replication.factor=3
transaction.state.log.min.isr=2
share.coordinator.state.topic.replication.factor=3
share.coordinator.state.topic.min.isr=2
process.roles=broker,controller
controller.quorum.voters=";

/// Starts them, each with its data in a folder of its own, and waits until all are
/// ready. Blocks.
pub(super) fn three_brokers(folder: &Path) -> Vec<Server> {
    let controllers = [1, 2, 3].map(|node| (node, free_port()));
    let voters = controllers.map(|(node, port)| format!("{node}@127.0.0.1:{port}"));
    let mut brokers: Vec<_> = controllers
        .iter()
        .map(|(node, controller)| {
            let settings = folder.join(format!("kafka-{node}.settings"));
            let text = format!("{REPLICATED}{}\nnode.id={node}\n", voters.join(","));
            std::fs::write(&settings, text).expect("a file of settings");
            let options = [
                "--controller-port".to_owned(),
                controller.to_string(),
                "--settings".to_owned(),
                settings.display().to_string(),
                "--cluster".to_owned(),
                "three-brokers-of-a-test".to_owned(),
            ];
            let data = folder.join(format!("kafka-{node}"));
            start("kafka", &data, free_port(), &options)
        })
        .collect();
    brokers.iter_mut().for_each(wait_until_ready);
    brokers
}
