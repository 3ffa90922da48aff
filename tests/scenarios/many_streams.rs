//! 50 streams of 25 accounts: rebuilds by two instances of data-streams while every account
//! changes all the time and the instances are killed.

use std::{sync::Arc, time::Duration};

use harness::{Api, HANG_LIMIT, Stack, eventually, truth};
use hubspot_sim::{Limits, PortalConfig, Simulator};
use serde_json::{Value, json};
use tokio::task::JoinSet;

const ACCOUNTS: u64 = 25;
const FIRST_PORTAL: u64 = 5_100_000;
const TYPES: [&str; 2] = ["contacts", "companies"];

/// Pause between two changes of all objects.
const PAUSE: Duration = Duration::from_secs(4);

async fn twenty_five_accounts() -> Stack {
    let mut builder = Stack::with(1, 1);
    for number in 0..ACCOUNTS {
        let token = format!("secret-token-{number}");
        let mut portal = PortalConfig {
            portal_id: FIRST_PORTAL + number,
            tokens: vec![token.clone()],
            contacts: 30,
            companies: 15,
            limits: Limits::off(),
            ..PortalConfig::default()
        };
        portal.quirks.index_lag_ms = 100;
        builder = builder
            .another_portal(portal)
            .credential(&format!("account{number}"), &token);
    }
    builder.start().await
}

/// Changes all objects of all accounts again and again, until it is aborted.
async fn change_all(simulator: Arc<Simulator>) {
    for round in 0_u64.. {
        for number in 0..ACCOUNTS {
            let portal = simulator.portal_by_id(FIRST_PORTAL + number).unwrap();
            for (kind, property) in TYPES.into_iter().zip(["jobtitle", "city"]) {
                let value = format!("round {round}");
                let ids = portal.ids(kind);
                portal.bulk(kind, &ids, &[(property, &value)]).unwrap();
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Asks for a rebuild; where it is shown.
async fn ask_for_rebuild(api: &Api) -> String {
    let asked = api.send("POST", "/v1/warehouse/rebuild", None).await;
    assert_eq!(asked.status, 202, "{}", asked.body);
    asked.body["status"].as_str().unwrap().to_owned()
}

/// What an instance says of a rebuild, once that satisfies `holds`.
async fn rebuild(api: &Api, path: &str, holds: impl Fn(&Value) -> bool) -> Value {
    eventually("the rebuild has got there", HANG_LIMIT, async || {
        let shown = api.try_send("GET", path, None).await.ok()?;
        (shown.status == 200 && holds(&shown.body)).then_some(shown.body)
    })
    .await
}

/// How often an instance has begun a rebuild.
fn rebuilds(stack: &Stack, index: usize) -> usize {
    let log = stack.instances[index].process.output();
    log.matches("rebuild begins").count()
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_streams_are_rebuilt_by_two_instances_under_full_input_and_kills() {
    let mut stack = twenty_five_accounts().await;
    let api = stack.api();
    for number in 0..ACCOUNTS {
        let settings = json!({"credential": format!("file:account{number}"), "interval": "10s"});
        api.start(&format!("account{number}"), settings).await;
    }
    eventually("all first runs have succeeded", HANG_LIMIT, async || {
        let all = api.get("/v1/connections").await;
        let mut streams = all["connections"]
            .as_array()?
            .iter()
            .filter_map(|it| it["streams"].as_array())
            .flatten();
        streams
            .all(|it| !it["last_success"].is_null())
            .then_some(())
    })
    .await;
    let mut changing = JoinSet::new();
    changing.spawn(change_all(Arc::clone(&stack.simulator)));
    stack.add_data_streams();
    stack.api().ready().await;

    // Once the one that carries it out is killed, once the other one.
    for kills_leader in [true, false] {
        let before = [0, 1].map(|index| rebuilds(&stack, index));
        let path = ask_for_rebuild(&Api::new(stack.instances[0].port)).await;
        let has_begun = |it: &Value| it["records"].as_u64().is_some_and(|it| it > 0);
        rebuild(&stack.api(), &path, has_begun).await;
        let leader = [0, 1]
            .into_iter()
            .find(|index| rebuilds(&stack, *index) > before[*index])
            .expect("one carries it out");
        let killed = if kills_leader { leader } else { 1 - leader };
        stack.restart_data_streams(killed);
        let other = Api::new(stack.instances[1 - killed].port);
        let ended = rebuild(&other, &path, |it| !it["ended_at"].is_null()).await;
        assert_eq!(ended["state"], "done", "{ended}");
    }

    changing.shutdown().await;
    for number in 0..ACCOUNTS {
        let portal = stack.simulator.portal_by_id(FIRST_PORTAL + number).unwrap();
        let destination = format!("hubspot_account{number}");
        for kind in TYPES {
            let left = truth::last_differences(&stack, &destination, &portal, kind, HANG_LIMIT);
            harness::check::assert_no_violations(&left.await);
        }
    }
    stack.log().await.assert_exactly_once();
}
