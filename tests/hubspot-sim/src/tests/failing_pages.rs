//! Pages that always fail because of their size or of an object.

use super::*;

const TYPE: &str = "/crm/objects/2026-09/contacts";

#[tokio::test]
async fn large_pages_of_one_type_time_out() {
    let simulator = simulator(100, |_| {}).await;
    let client = Client::of(&simulator);
    let ids = simulator.portal().ids("contacts");
    let rule = json!({"object_type": "contacts", "times": "always",
                      "fault": {"fault": "page_timeout", "above": 50}});
    fault(&client, rule).await;
    let (search, batch_read) = (format!("{TYPE}/search"), format!("{TYPE}/batch/read"));
    for (limit, status) in [(100, 524), (51, 524), (50, 200), (100, 524)] {
        assert_eq!(client.get(&format!("{TYPE}?limit={limit}")).await.0, status);
        let found = client.post(&search, json!({"limit": limit})).await;
        assert_eq!(found.0, status);
        let batch = inputs(ids.get(..limit).unwrap_or(&ids));
        assert_eq!(client.post(&batch_read, batch).await.0, status);
    }
    // HubSpot's proxy answers, not HubSpot.
    assert!(client.get(&format!("{TYPE}?limit=100")).await.1.is_string());
    let companies = client.get("/crm/objects/2026-09/companies?limit=100");
    assert_eq!(companies.await.0, 200);
}

#[tokio::test]
async fn an_object_fails_every_page_that_has_it() {
    let simulator = simulator(60, |config| config.portals[0].archived_percent = 0.0).await;
    let client = Client::of(&simulator);
    let ids = simulator.portal().ids("contacts");
    let truth = simulator.truth("contacts").unwrap();
    let bad = ids[30];
    let rule = json!({"object_type": "contacts", "times": "always",
                      "fault": {"fault": "failing_objects", "ids": [bad], "code": 502}});
    fault(&client, rule).await;
    for _ in 0..2 {
        assert_eq!(client.get(&format!("{TYPE}?limit=100")).await.0, 502);
        let alone = format!("{TYPE}?limit=1&after={bad}");
        assert_eq!(client.get(&alone).await.0, 502);
        assert_eq!(client.get(&format!("{TYPE}/{bad}")).await.0, 502);
        let batch = format!("{TYPE}/batch/read");
        assert_eq!(client.post(&batch, inputs(&ids)).await.0, 502);
        assert_eq!(client.post(&batch, inputs(&[bad])).await.0, 502);
        let search = format!("{TYPE}/search");
        assert_eq!(client.post(&search, json!({"limit": 200})).await.0, 502);
    }
    assert_eq!(client.get(&format!("{TYPE}?limit=30")).await.0, 200);
    let after = simulator.truth("contacts").unwrap();
    assert_eq!((after.count, after.digest), (truth.count, truth.digest));
}
