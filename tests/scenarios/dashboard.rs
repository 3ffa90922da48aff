//! The dashboard in a real browser: `tests/browser/` clicks through it, over a system that
//! runs.

use std::pin::pin;

use harness::{HANG_LIMIT, Stack, eventually, process::SHUTDOWN_LIMIT, stack_command};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

/// The API tokens of the second instance.
const API_TOKEN: &str = "dashboard-scenario-token";
const READ_TOKEN: &str = "dashboard-scenario-reading-token";

#[tokio::test(flavor = "multi_thread")]
async fn the_dashboard_does_in_a_browser_what_it_is_for() {
    // In few lanes, so that a slow list gives the browser time to see a first sync.
    let mut stack = Stack::with(1_500, 60)
        .worker("LANES", "3")
        // A person's sync may follow a change at once.
        .portal(|portal| portal.quirks.index_lag_ms = 0)
        .start()
        .await;
    let open = stack.api();
    stack.first_sync(json!({})).await;
    // One message that can never be stored.
    let letter = vec![("letter".to_owned(), Some(b"no avro at all".to_vec()))];
    stack
        .servers()
        .produce(&stack.topic("records"), letter)
        .await;
    eventually("it is a dead letter", HANG_LIMIT, async || {
        let letters = open.get("/v1/dead-letters").await;
        (letters["results"].as_array()?.len() == 1).then_some(())
    })
    .await;
    stack.keep_secret(API_TOKEN);
    stack.keep_secret(READ_TOKEN);
    stack.add_data_streams_with(&[("API_TOKEN", API_TOKEN), ("API_READ_TOKEN", READ_TOKEN)]);
    let guarded = stack.api();
    guarded.ready().await;

    // A test asks here for a restart of the first instance, or for an end or a start of the
    // worker.
    let restarts = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = restarts.local_addr().unwrap();
    let variables = [
        ("RESTART_URL", format!("http://{address}")),
        ("DASHBOARD_URL", open.url().to_owned()),
        ("TOKEN_DASHBOARD_URL", guarded.url().to_owned()),
        ("API_TOKEN", API_TOKEN.to_owned()),
        ("API_READ_TOKEN", READ_TOKEN.to_owned()),
        ("SIMULATOR_URL", stack.simulator.base_url()),
    ];
    let mut tests = pin!(stack_command(&["browser"], &variables));
    loop {
        tokio::select! {
            _printed = &mut tests => break,
            asked = restarts.accept() => {
                let (mut asking, _) = asked.unwrap();
                let mut request = [0; 4_096];
                let length = asking.read(&mut request).await.unwrap();
                assert!(length > 0);
                let text = String::from_utf8_lossy(&request);
                match text.split(' ').nth(1) {
                    Some("/worker/end") => stack.first_worker().terminate(SHUTDOWN_LIMIT),
                    Some("/worker/start") => stack.restart_worker(0, &[]),
                    _other => stack.restart_data_streams(0),
                }
                let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                asking.write_all(answer.as_bytes()).await.unwrap();
            }
        }
    }
}
