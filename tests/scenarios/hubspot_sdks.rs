//! HubSpot's own SDKs page, search and batch read the simulator and get what it
//! holds: what they accept as HubSpot is realistic enough for the worker.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use harness::{servers::root, stack_command};
use hubspot_sim::{Config, Simulator};

async fn portal() -> Simulator {
    let mut config = Config::with_sizes(450, 30);
    for portal in &mut config.portals {
        portal.limits = hubspot_sim::Limits::off();
        portal.quirks.index_lag_ms = 0;
    }
    Simulator::start(config).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_sdk_reads_the_simulator() {
    let simulator = portal().await;
    stack_command(&["sdk", &simulator.base_url(), "demo-token"], &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_sdk_reads_the_simulator() {
    let simulator = portal().await;
    let script = root().join("tests/sdk/python/check.py");
    let script = script.display().to_string();
    let arguments = ["python", &script, &simulator.base_url(), "demo-token"];
    stack_command(&arguments, &[]).await;
}
