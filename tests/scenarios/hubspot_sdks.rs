//! HubSpot's own SDKs page, search and batch read the simulator and get what it
//! holds: what they accept as HubSpot is realistic enough for the worker.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::{Command, Output};

use harness::servers::root;
use hubspot_sim::{Config, Simulator};

async fn portal() -> Simulator {
    let mut config = Config::with_sizes(450, 30);
    for portal in &mut config.portals {
        portal.limits = hubspot_sim::Limits::off();
        portal.quirks.index_lag_ms = 0;
    }
    Simulator::start(config).await.unwrap()
}

async fn run(arguments: Vec<String>) -> Output {
    let stack = root().join("infra/native/stack");
    tokio::task::spawn_blocking(move || Command::new(stack).args(arguments).output().unwrap())
        .await
        .unwrap()
}

fn assert_agrees(output: &Output) {
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_sdk_reads_the_simulator() {
    let simulator = portal().await;
    let arguments = ["sdk", &simulator.base_url(), "demo-token"];
    assert_agrees(&run(arguments.map(ToOwned::to_owned).to_vec()).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_sdk_reads_the_simulator() {
    let simulator = portal().await;
    let script = root()
        .join("tests/sdk/python/check.py")
        .display()
        .to_string();
    let arguments = ["python", &script, &simulator.base_url(), "demo-token"];
    assert_agrees(&run(arguments.map(ToOwned::to_owned).to_vec()).await);
}
