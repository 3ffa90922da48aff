//! The simulator over HTTP, as a client sees it.

use std::time::Duration;

use serde_json::{Value, json};

use super::*;

mod calculated;
mod control;
mod endpoints;
mod failing_pages;
mod quirks;
mod refusals;
mod sensitive_properties;
mod wrong_lists;
mod wrong_reads;

struct Client {
    http: reqwest::Client,
    base: String,
}

impl Client {
    fn of(simulator: &Simulator) -> Self {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self {
            http,
            base: simulator.base_url(),
        }
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        let request = self
            .http
            .get(format!("{}{path}", self.base))
            .bearer_auth("demo-token");
        read(request.send().await.unwrap()).await
    }

    async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        let request = self
            .http
            .post(format!("{}{path}", self.base))
            .bearer_auth("demo-token");
        read(request.json(&body).send().await.unwrap()).await
    }
}

async fn read(response: reqwest::Response) -> (u16, Value) {
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    (
        status,
        serde_json::from_str(&text).unwrap_or(Value::String(text)),
    )
}

/// A simulator without limits and index lag.
async fn simulator(contacts: u32, change: impl FnOnce(&mut Config)) -> Simulator {
    let mut config = Config::with_sizes(contacts, 10);
    let portal = config.portals.first_mut().unwrap();
    portal.limits = Limits::off();
    portal.quirks.index_lag_ms = 0;
    change(&mut config);
    Simulator::start(config).await.unwrap()
}

/// Adds a fault, or several, through the control interface.
async fn fault(client: &Client, rule: Value) {
    let (status, answer) = client.post("/__sim/faults", rule).await;
    assert_eq!(status, 200, "{answer}");
}

fn ids_of(page: &Value) -> Vec<u64> {
    let rows = page["results"].as_array().unwrap().iter();
    rows.map(|row| row["id"].as_str().unwrap().parse().unwrap())
        .collect()
}

/// The body of a batch read.
fn inputs(ids: &[u64]) -> Value {
    let inputs: Vec<Value> = ids.iter().map(|id| json!({"id": id.to_string()})).collect();
    json!({"inputs": inputs, "properties": ["email"]})
}

fn hash_of(object: &Value) -> u64 {
    let set: Vec<(&str, &str)> = object["properties"]
        .as_object()
        .unwrap()
        .iter()
        .filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)))
        .collect();
    let updated = timestamps::parse(object["updatedAt"].as_str().unwrap()).unwrap();
    let id = object["id"].as_str().unwrap().parse().unwrap();
    object_hash(id, updated, object["archived"].as_bool().unwrap(), set)
}

async fn list_all(client: &Client, simulator: &Simulator) -> (u64, Digest) {
    let names = simulator.portal().property_names("contacts").join(",");
    let (mut count, mut digest) = (0, Digest::default());
    for archived in [false, true] {
        let mut after = String::new();
        loop {
            let path = format!(
                "/crm/objects/2026-09/contacts?limit=100&archived={archived}&properties={names}{after}"
            );
            let (status, page) = client.get(&path).await;
            assert_eq!(status, 200, "{page}");
            for object in page["results"].as_array().unwrap() {
                count += 1;
                digest.add(hash_of(object));
            }
            match page["paging"]["next"]["after"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => break,
            }
        }
    }
    (count, digest)
}

#[tokio::test]
async fn all_pages_of_the_list_equal_the_truth() {
    for cursor in [CursorMode::Id, CursorMode::Opaque, CursorMode::Offset] {
        let simulator = simulator(321, |config| config.portals[0].quirks.cursor = cursor).await;
        let client = Client::of(&simulator);
        let truth = simulator.truth("contacts").unwrap();
        assert!(truth.archived > 0);
        assert_eq!(list_all(&client, &simulator).await, (321, truth.digest));
        // Cached renderings follow changes of objects and definitions.
        let portal = simulator.portal();
        let ids = portal.ids("contacts");
        portal
            .update("contacts", ids[3], &[("firstname", "Zoë"), ("city", "")])
            .unwrap();
        portal
            .define_property("contacts", Definition::new("shoe_size", "number", "number"))
            .unwrap();
        portal
            .calculate("contacts", ids[4], &[("shoe_size", "43")])
            .unwrap();
        portal.archive("contacts", ids[5]).unwrap();
        portal.merge("contacts", ids[6], ids[7]).unwrap();
        portal.erase("contacts", ids[8]).unwrap();
        let truth = simulator.truth("contacts").unwrap();
        assert_eq!(
            list_all(&client, &simulator).await,
            (truth.count, truth.digest)
        );
        assert_eq!(truth.count, 319);
    }
}

#[tokio::test]
async fn keyset_search_finds_each_object_of_one_millisecond_once() {
    let simulator = simulator(12_500, |_| {}).await;
    let client = Client::of(&simulator);
    let portal = simulator.portal();
    let ids: Vec<u64> = portal.ids("contacts").into_iter().take(12_000).collect();
    let at = portal
        .bulk("contacts", &ids, &[("jobtitle", "Same")])
        .unwrap();
    let (mut last, mut found) = (0_u64, Vec::new());
    loop {
        let body = json!({"limit": 200, "properties": ["hs_object_id"],
            "sorts": [{"propertyName": "hs_object_id", "direction": "ASCENDING"}],
            "filterGroups": [{"filters": [
                {"propertyName": "lastmodifieddate", "operator": "GTE", "value": at.to_string()},
                {"propertyName": "lastmodifieddate", "operator": "LT", "value": (at + 1).to_string()},
                {"propertyName": "hs_object_id", "operator": "GT", "value": last.to_string()}]}]});
        let (status, page) = client
            .post("/crm/objects/2026-09/contacts/search", body)
            .await;
        assert_eq!(status, 200, "{page}");
        assert_eq!(page["total"], 12_000 - found.len());
        let rows = page["results"].as_array().unwrap();
        found.extend(
            rows.iter()
                .map(|row| row["id"].as_str().unwrap().parse::<u64>().unwrap()),
        );
        match found.last() {
            Some(id) if !rows.is_empty() => last = *id,
            _ => break,
        }
    }
    assert_eq!(found, ids);
}

#[tokio::test]
async fn batch_read_answers_207_and_resolves_merged_ids() {
    let simulator = simulator(50, |_| {}).await;
    let client = Client::of(&simulator);
    let portal = simulator.portal();
    let ids = portal.ids("contacts");
    let winner = portal.merge("contacts", ids[0], ids[1]).unwrap();
    portal.archive("contacts", ids[2]).unwrap();
    portal.erase("contacts", ids[3]).unwrap();
    let inputs: Vec<Value> = ids[..5]
        .iter()
        .map(|id| json!({"id": id.to_string()}))
        .collect();
    let body = json!({"inputs": inputs, "properties": ["email", "hs_merged_object_ids"]});
    let path = "/crm/objects/2026-09/contacts/batch/read";
    let (status, page) = client.post(path, body.clone()).await;
    assert_eq!(status, 207);
    let found: Vec<&str> = page["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["id"].as_str().unwrap())
        .collect();
    assert_eq!(found, [winner.to_string(), ids[4].to_string()]);
    let merged = format!("{};{}", ids[0], ids[1]);
    assert_eq!(
        page["results"][0]["properties"]["hs_merged_object_ids"],
        merged
    );
    assert_eq!(
        page["errors"][0]["context"]["ids"],
        json!([ids[2].to_string(), ids[3].to_string()])
    );
    let (_, page) = client.post(&format!("{path}?archived=true"), body).await;
    assert_eq!(page["results"][0]["id"], ids[2].to_string());
}

#[tokio::test]
async fn associations_answer_207_for_objects_without_any() {
    let simulator = simulator(100, |_| {}).await;
    let client = Client::of(&simulator);
    let inputs: Vec<Value> = simulator
        .portal()
        .ids("contacts")
        .iter()
        .map(|id| json!({"id": id.to_string()}))
        .collect();
    let path = "/crm/associations/2026-09/contacts/companies/batch/read";
    let (status, page) = client.post(path, json!({"inputs": inputs})).await;
    assert_eq!(status, 207);
    let (some, none) = (
        page["results"].as_array().unwrap(),
        page["errors"].as_array().unwrap(),
    );
    assert_eq!(some.len() + none.len(), inputs.len());
    assert!(some[0]["to"][0]["toObjectId"].is_number());
}

#[tokio::test]
async fn associations_come_and_go_without_a_change_of_their_objects() {
    let simulator = simulator(5, |_| {}).await;
    let client = Client::of(&simulator);
    let portal = simulator.portal();
    let (person, firm) = (portal.ids("contacts")[0], portal.ids("companies")[0]);
    let before = simulator.truth("contacts").unwrap().digest;
    let ends = json!({"from_type": "contacts", "from": person, "to_type": "companies", "to": firm});
    let change = async |op: &str, label: Option<&str>| {
        let mut change = ends.clone();
        change["op"] = op.into();
        if let Some(label) = label {
            change["label"] = label.into();
        }
        assert_eq!(client.post("/__sim/changes", change).await.0, 200);
        let path = "/crm/associations/2026-09/companies/contacts/batch/read";
        let asked = json!({"inputs": [{"id": firm.to_string()}]});
        let (_, page) = client.post(path, asked).await;
        let to = page["results"][0]["to"].as_array().cloned();
        let of = |it: &Value| it["toObjectId"] == person;
        let found = to.unwrap_or_default().into_iter().find(of);
        found.map(|it| it["associationTypes"].as_array().unwrap().len())
    };
    assert_eq!(change("associate", Some("Billing")).await, Some(2));
    assert_eq!(change("dissociate", None).await, None);
    assert_eq!(change("associate", None).await, Some(1));
    assert_eq!(simulator.truth("contacts").unwrap().digest, before);
}

#[tokio::test]
async fn a_restart_restores_every_change_of_a_portal() {
    let folder = tempfile::tempdir().unwrap();
    let keep = |config: &mut Config| {
        config.portals[0].state_dir = Some(folder.path().to_owned());
    };
    let first = simulator(80, keep).await;
    let portal = first.portal();
    let ids = portal.ids("contacts");
    portal
        .update("contacts", ids[0], &[("firstname", "Zoë")])
        .unwrap();
    portal.merge("contacts", ids[1], ids[2]).unwrap();
    portal.archive("contacts", ids[3]).unwrap();
    let before = first.truth("contacts").unwrap();
    // Without a shutdown: what was acknowledged is on disk.
    drop(first);
    let second = simulator(999, keep).await;
    let after = second.truth("contacts").unwrap();
    assert_eq!((after.count, after.digest), (before.count, before.digest));
    drop(second);

    let later = before.now_ms + 60_000;
    let reopened = simulator(0, |config: &mut Config| {
        keep(config);
        config.now_ms = Some(later);
    });
    let now = reopened.await.portal().now_ms();
    assert!((later..later + 30_000).contains(&now), "{now}");
}
