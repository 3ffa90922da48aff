//! A portal belongs to one connection: the first to claim it.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::time::Duration;

use harness::{HANG_LIMIT, Stack, api::Api, eventually};
use hubspot_sim::Kind;
use schemas::partition_for;
use serde_json::{Value, json};

/// For each of these partitions, of two, the name of a connection whose commands
/// are in it.
fn names(partitions: [i32; 2]) -> [String; 2] {
    let mut taken = 0;
    partitions.map(|partition| {
        loop {
            taken += 1;
            let name = format!("racer_{taken}");
            if partition_for(name.as_bytes(), 2) == partition {
                return name;
            }
        }
    })
}

async fn until_decided(api: &Api, name: &str) -> Value {
    api.until("the claim is decided", name, HANG_LIMIT, |it| {
        let observed = &it["observed"];
        observed["obeyed"] == it["command_id"]
            && (observed["state"] == "failed" || !it["streams"][0]["last_success"].is_null())
    })
    .await
}

/// Starts both at once and returns the one that gets the portal.
async fn race(stack: &Stack, names: &[String; 2]) -> String {
    let api = stack.api();
    let before = stack.simulator.requests().count(Kind::Details);
    let settings = json!({"streams": ["contacts"], "interval": "1h"});
    tokio::join!(
        api.start(&names[0], settings.clone()),
        api.start(&names[1], settings.clone()),
    );
    let (first, second) = tokio::join!(
        until_decided(&api, &names[0]),
        until_decided(&api, &names[1])
    );
    assert!(stack.simulator.requests().count(Kind::Details) >= before + 2);
    let owns_portal = |it: &Value| it["observed"]["state"] != "failed";
    assert!(
        owns_portal(&first) != owns_portal(&second),
        "exactly one has the portal: {first} {second}"
    );
    let (winner, loser) = if owns_portal(&first) {
        (first, second)
    } else {
        (second, first)
    };
    let error = &loser["observed"]["error"];
    assert_eq!(error["code"], "portal_taken", "{loser}");
    let winner = winner["name"].as_str().unwrap().to_owned();
    assert!(
        error["message"].as_str().unwrap().contains(&winner),
        "{error}"
    );
    winner
}

async fn delete(stack: &Stack, names: &[String; 2]) {
    let api = stack.api();
    for name in names {
        let path = format!("/v1/connections/{name}");
        api.send("DELETE", &path, None).await;
        eventually("the connection is deleted", HANG_LIMIT, async || {
            (api.send("GET", &path, None).await.status == 404).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_simultaneous_claims_exactly_one_wins() {
    let mut stack = Stack::with(20, 1).start().await;
    stack.add_worker();
    eventually("each worker owns a partition", HANG_LIMIT, async || {
        stack
            .workers
            .iter()
            .all(|it| {
                it.output()
                    .lines()
                    .rfind(|line| line.contains("partitions taken over"))
                    .is_some_and(|line| line.contains("partitions=1"))
            })
            .then_some(())
    })
    .await;
    // So that both account details arrive at about the same time.
    stack.simulator.set_latency(Duration::from_millis(200));
    // On two workers, then on one.
    for partitions in [[0, 1], [1, 0], [0, 1], [0, 0], [1, 1]] {
        let names = names(partitions);
        let winner = race(&stack, &names).await;
        // The loser cannot claim it by a second start.
        let loser = names.iter().find(|it| **it != winner).unwrap();
        let path = format!("/v1/connections/{loser}/start");
        let again = stack.api().send("POST", &path, None).await;
        assert_eq!(again.status, 409, "{}", again.body);
        assert_eq!(again.body["code"], "portal_in_use", "{}", again.body);
        delete(&stack, &names).await;
    }
    // A connection that lost has written no record.
    let log = stack.log().await;
    log.assert_exactly_once();
}
