//! Properties that change although last-modified does not.

use super::*;

#[tokio::test]
async fn a_calculated_value_changes_without_last_modified() {
    let simulator = simulator(5, |_| {}).await;
    let client = Client::of(&simulator);
    let id = simulator.portal().ids("contacts")[0];
    let path = format!("/crm/objects/2026-09/contacts/{id}?properties=hubspotscore");
    let before = client.get(&path).await.1;
    let truth = simulator.truth("contacts").unwrap();
    let change = json!({"hubspotscore": "77"});
    let route = format!("/__sim/objects/contacts/{id}/calculate");
    assert_eq!(client.post(&route, change).await.0, 200);
    let after = client.get(&path).await.1;
    assert_eq!(after["properties"]["hubspotscore"], "77");
    assert_eq!(after["updatedAt"], before["updatedAt"]);
    assert_ne!(simulator.truth("contacts").unwrap().digest, truth.digest);
}

#[tokio::test]
async fn a_read_time_property_differs_at_every_read_and_is_not_in_the_truth() {
    let simulator = simulator(5, |_| {}).await;
    let client = Client::of(&simulator);
    let truth = simulator.truth("contacts").unwrap();
    let change = json!({"op": "define_property", "object_type": "contacts",
        "definition": {"name": "open_for", "kind": "number",
                       "field_type": "calculation_read_time"}});
    assert_eq!(client.post("/__sim/changes", change).await.0, 200);
    let (_, page) = client.get("/crm/properties/2026-09/contacts").await;
    let all = page["results"].as_array().unwrap();
    let shown = all.iter().find(|it| it["name"] == "open_for").unwrap();
    assert_eq!(shown["fieldType"], "calculation_read_time");
    assert_eq!(shown["calculated"], true);

    let mut values = std::collections::BTreeSet::new();
    let names = simulator.portal().property_names("contacts").join(",");
    for properties in ["open_for", "open_for", &names, &names] {
        let path = format!("/crm/objects/2026-09/contacts?properties={properties}");
        for row in client.get(&path).await.1["results"].as_array().unwrap() {
            values.insert(row["properties"]["open_for"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(values.len(), 4 * simulator.portal().ids("contacts").len());
    let (_, page) = client.get("/crm/objects/2026-09/contacts").await;
    assert!(page["results"][0]["properties"].get("open_for").is_none());
    let after = simulator.truth("contacts").unwrap();
    assert_eq!((after.count, after.digest), (truth.count, truth.digest));
}
