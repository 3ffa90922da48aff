//! The first sync: everything arrives once, and equals what HubSpot has.

use harness::{HANG_LIMIT, RecordLog, Stack, truth};
use hubspot_sim::{CursorMode, Definition};
use serde_json::json;

async fn assert_everything_arrives(stack: &Stack) -> RecordLog {
    let log = stack.log().await;
    log.assert_exactly_once();
    for object_type in ["contacts", "companies"] {
        truth::log_matches(stack, &log, object_type);
        stack.matches_truth(object_type).await;
    }
    log
}

#[tokio::test(flavor = "multi_thread")]
async fn every_record_arrives_once_and_as_hubspot_has_it() {
    let stack = Stack::with(3_000, 300).start().await;
    stack.first_sync(json!({})).await;
    let log = assert_everything_arrives(&stack).await;

    let contacts = "contacts is idle, and has written what the log holds";
    let written = log
        .records
        .iter()
        .filter(|it| it.object_type == "contacts")
        .count();
    stack
        .api()
        .until(contacts, "default", HANG_LIMIT, |connection| {
            let contacts = harness::api::stream(connection, "contacts");
            contacts["phase"] == "idle"
                && contacts["records_total"].as_u64() >= u64::try_from(written).ok()
        })
        .await;
    let live = stack.simulator.portal().ids("contacts").len();
    let visible = stack
        .sql_as_reader()
        .number("SELECT count() FROM hubspot.contacts")
        .await;
    assert_eq!(
        usize::try_from(visible).unwrap(),
        live,
        "archived records are hidden"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_opaque_cursor_is_read_in_one_lane() {
    let stack = Stack::with(1_500, 20)
        .portal(|portal| portal.quirks.cursor = CursorMode::Opaque)
        .start()
        .await;
    stack.first_sync(json!({})).await;
    assert_everything_arrives(&stack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_that_is_a_row_number_is_detected() {
    let stack = Stack::with(1_500, 20)
        .portal(|portal| portal.quirks.cursor = CursorMode::Offset)
        .start()
        .await;
    stack.first_sync(json!({})).await;
    let log = stack.log().await;
    truth::log_matches(&stack, &log, "contacts");
    stack.matches_truth("contacts").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_portal_with_more_properties_than_fit_a_url_is_synced() {
    let stack = Stack::with(300, 10)
        .portal(|portal| {
            portal.properties = 1_200;
            portal.set_properties = 60;
        })
        .start()
        .await;
    stack.first_sync(json!({})).await;
    assert_everything_arrives(&stack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_whose_names_exceed_a_url_are_synced() {
    let stack = Stack::with(300, 10).start().await;
    // The longest names that HubSpot allows.
    for number in 0..700 {
        let name = format!("{}_{number:03}", "x".repeat(96));
        stack
            .simulator
            .portal()
            .define_property("contacts", Definition::new(&name, "string", "text"))
            .unwrap();
    }
    stack.first_sync(json!({})).await;
    assert_everything_arrives(&stack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deals_are_synced_when_the_settings_name_them() {
    let stack = Stack::with(50, 5).start().await;
    let portal = stack.simulator.portal();
    for number in 0..250 {
        portal
            .create("deals", &[("dealname", &format!("deal {number}"))])
            .unwrap();
    }
    stack
        .first_sync(json!({"streams": ["contacts", "companies", "deals"]}))
        .await;
    stack.matches_truth("deals").await;
}
