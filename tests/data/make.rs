//! Makes the data set of a version: starts its services on a small portal, lets
//! them read changes of each kind, stops them and packs what they wrote.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a failed run panics"
)]

use std::{collections::BTreeMap, path::PathBuf};

use clap::Parser;
use harness::{DataSet, HANG_LIMIT, Stack, eventually};
use hubspot_sim::{Definition, Portal};
use rdkafka::{
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
};
use schemas::Topics;
use serde_json::{Value, json};

/// Longer than the lag of the search index that the worker allows for, 500 ms, and
/// the precision of HubSpot's clock, 1 s.
const INDEX_LAG_MS: i64 = 2_000;

/// Makes the data set of a version, from the services that are built.
#[derive(Debug, Parser)]
struct Args {
    /// The file to be written, such as `tests/data/former-0.1.tar.gz`.
    archive: PathBuf,
}

/// Contacts that were changed.
struct Changed {
    updated: u64,
    /// All of them.
    contacts: Vec<u64>,
}

#[tokio::main]
async fn main() {
    let args = Args::parse();
    let mut stack = Stack::with(200, 40)
        .packable()
        // Its default is the name of the machine.
        .worker("WORKER_NAME", "former-worker")
        .without_services()
        .start()
        .await;
    create_dead_letters(&stack).await;
    stack.add_worker();
    stack.add_data_streams();
    stack.api().ready().await;

    stack.first_sync(json!({"interval": "1h"})).await;
    let changed = change(&stack.simulator.portal());
    stack.sync().await;
    let topic = stack.topic("records");
    let undecodable = vec![("a".to_owned(), Some(b"no avro at all".to_vec()))];
    stack.servers().produce(&topic, undecodable).await;
    // What search does not show is found by a full pass.
    stack.request(json!({"kind": "resync"})).await;
    change_again(&stack.simulator.portal(), &changed);
    stack.sync().await;
    // This run ends within the lag of the search index after that change, so the
    // next one reads it again. The one after that does not.
    let portal = stack.simulator.portal();
    let read_at = portal.now_ms() + INDEX_LAG_MS;
    eventually("the lag is over", HANG_LIMIT, async || {
        (portal.now_ms() > read_at).then_some(())
    })
    .await;
    stack.sync().await;
    until_all_is_stored(&stack).await;

    let answers = answers(&stack, &changed).await;
    DataSet::pack(stack, answers, &args.archive).await;
}

/// Creates the topic of dead letters before the services do, without the time
/// after which Kafka deletes them: the data set is older than that one day.
async fn create_dead_letters(stack: &Stack) {
    let topics = Topics::with_prefix(&stack.prefix).all();
    let topic = topics.iter().find(|it| it.name.ends_with("dead-letters"));
    let topic = topic.expect("a topic of dead letters");
    let mut new = NewTopic::new(&topic.name, 4, TopicReplication::Fixed(1));
    for (key, value) in topic.required.iter().chain(&topic.advised) {
        let kept = *key == "retention.ms";
        new = new.set(key, if kept { "-1" } else { value });
    }
    let admin: AdminClient<DefaultClientContext> = stack.servers().client().create().unwrap();
    let created = admin.create_topics([&new], &AdminOptions::new()).await;
    for outcome in created.expect("Kafka answers") {
        outcome.expect("a topic is created");
    }
}

/// Changes of each kind between two runs.
fn change(portal: &Portal) -> Changed {
    let favourite = Definition::new("favourite_number", "number", "number");
    portal.define_property("contacts", favourite).unwrap();
    let contacts = portal.ids("contacts");
    let companies = portal.ids("companies");
    let bin = portal.archived_ids("contacts");
    for id in &contacts[..8] {
        let values = [("favourite_number", "42"), ("city", "Bern")];
        portal.update("contacts", *id, &values).unwrap();
    }
    portal
        .update("companies", companies[0], &[("city", "Oslo")])
        .unwrap();
    portal.archive("companies", companies[1]).unwrap();
    portal.erase("companies", companies[2]).unwrap();
    portal
        .create("contacts", &[("email", "new@example.com")])
        .unwrap();
    let [archived, erased, primary, secondary] = [10, 11, 12, 13].map(|index| contacts[index]);
    portal.archive("contacts", archived).unwrap();
    portal.erase("contacts", erased).unwrap();
    portal.restore("contacts", bin[0]).unwrap();
    let winner = portal.merge("contacts", primary, secondary).unwrap();
    Changed {
        updated: contacts[0],
        contacts: vec![
            contacts[0],
            archived,
            bin[0],
            erased,
            primary,
            secondary,
            winner,
        ],
    }
}

/// One more version of an object that has two.
fn change_again(portal: &Portal, changed: &Changed) {
    let values = [("favourite_number", "43"), ("city", "")];
    portal.update("contacts", changed.updated, &values).unwrap();
}

async fn until_all_is_stored(stack: &Stack) {
    for object_type in ["contacts", "companies"] {
        stack.matches_truth(object_type).await;
    }
    let api = stack.api();
    eventually("the dead letter is listed", HANG_LIMIT, async || {
        let letters = api.get("/v1/dead-letters").await;
        (letters["results"].as_array()?.len() == 1).then_some(())
    })
    .await;
    let idle = |connection: &Value| {
        let streams = connection["streams"].as_array().unwrap();
        streams
            .iter()
            .all(|it| it["phase"] == "idle" && !it["next_run"].is_null())
    };
    api.until("all streams are idle", "default", HANG_LIMIT, idle)
        .await;
}

/// What the API answers at the end.
async fn answers(stack: &Stack, changed: &Changed) -> BTreeMap<String, Value> {
    let records = "/v1/connections/default/records";
    let mut paths = vec![
        "/v1/connections/default".to_owned(),
        "/v1/dead-letters".to_owned(),
        format!("{records}/contacts?limit=1000&archived=any&properties=email,favourite_number"),
        format!("{records}/companies?limit=1000&archived=any&properties=name,city"),
    ];
    for id in &changed.contacts {
        paths.push(format!("{records}/contacts/{id}"));
    }
    let mut answers = BTreeMap::new();
    for path in paths {
        let answer = stack.api().send("GET", &path, None).await;
        assert!(
            matches!(answer.status, 200 | 404),
            "{path}: {}",
            answer.body
        );
        answers.insert(path, answer.body);
    }
    answers
}
