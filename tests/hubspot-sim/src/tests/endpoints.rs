//! Endpoints beside those for objects.

use super::*;

#[tokio::test]
async fn the_record_limits_count_the_live_objects_of_each_type() {
    let simulator = simulator(150, |config| config.portals[0].archived_percent = 10.0).await;
    let client = Client::of(&simulator);
    let portal = simulator.portal();
    let (name, type_id) = ("p_cars".to_owned(), "2-123".to_owned());
    portal.apply(&Change::AddType { name, type_id }).unwrap();
    portal.create("p_cars", &[]).unwrap();
    let live = portal.ids("contacts").len();
    for path in ["/crm/limits/2026-09/records", "/crm/v3/limits/records"] {
        let (status, page) = client.get(path).await;
        assert_eq!(status, 200);
        let usage = |type_id: &str| {
            let all = page["hubspotDefinedObjectTypes"].as_array().unwrap();
            let one = all.iter().find(|it| it["objectTypeId"] == type_id);
            one.unwrap()["usage"].clone()
        };
        assert_eq!((usage("0-1"), usage("0-3")), (json!(live), json!(0)));
        let custom = &page["customObjectTypes"];
        assert_eq!(custom["overallUsage"], 1);
        assert_eq!(custom["byObjectType"][0]["objectTypeId"], "2-123");
    }
    assert!(live < 150);
    assert_eq!(simulator.requests().count(Kind::RecordLimits), 2);
}
