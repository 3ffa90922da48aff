//! HubSpot fails, limits requests or revokes a token: a sync takes longer, and
//! loses nothing.

use std::time::Duration;

use harness::{
    HANG_LIMIT, Stack, Timeline, api::stream, check, eventually, history, history::History,
};
use hubspot_sim::{
    Change, Definition, Fault, FaultBody, Kind, Limits, Policy, Portal, Rule, Simulator,
};
use rand::{RngExt as _, rngs::StdRng};
use serde_json::{Value, json};

/// A random change of contacts.
fn change(portal: &Portal, choices: &mut StdRng) -> Change {
    let object_type = "contacts".to_owned();
    let ids = portal.ids("contacts");
    let id = ids.get(choices.random_range(0..ids.len())).copied();
    let id = id.unwrap_or_default();
    let archived = portal.archived_ids("contacts");
    match choices.random_range(0..10) {
        0..5 => Change::Update {
            object_type,
            id,
            properties: [("jobtitle".to_owned(), Some(id.to_string()))].into(),
        },
        5 => Change::Create {
            object_type,
            id: None,
            properties: [("jobtitle".to_owned(), Some("new".to_owned()))].into(),
        },
        6 => Change::Archive { object_type, id },
        7 => Change::Restore {
            object_type,
            id: archived.first().copied().unwrap_or_default(),
        },
        8 => Change::Merge {
            object_type,
            primary: id,
            secondary: ids.first().copied().unwrap_or_default(),
        },
        _ => Change::Erase { object_type, id },
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_while_a_tenth_of_requests_fails_and_records_change() {
    let timeline = Timeline::new(5);
    let _printed = timeline.guard();
    let stack = Stack::with(2_000, 30).start().await;
    let portal = stack.simulator.portal();
    stack.simulator.set_latency(Duration::from_millis(15));
    stack.simulator.faults().set_random_percent(10.0);
    let mut history = History::of(&portal, &["contacts"]);
    let mut choices = timeline.choices("changes");
    stack
        .api()
        .start("default", json!({"interval": "10s"}))
        .await;
    let mut ticks = tokio::time::interval(Duration::from_millis(40));
    for number in 0..500 {
        ticks.tick().await;
        let next = change(&portal, &mut choices);
        // Fails for an object that is gone, for example; then nothing changes.
        if history.apply(&portal, &next).is_ok() {
            timeline.note(format!("{next:?}"));
        }
        if number == 250 {
            let name = "defined_meanwhile";
            let definition = Definition::new(name, "string", "text");
            portal.define_property("contacts", definition).unwrap();
            let id = portal.ids("contacts").last().copied().unwrap();
            let at = portal.update("contacts", id, &[(name, "value")]).unwrap();
            history.version_ended("contacts", id, at);
            history.version_began("contacts", id, at);
        }
    }
    stack.simulator.faults().clear();
    stack.request(json!({"kind": "resync"})).await;
    stack.api().stop("default").await;
    let log = stack.log().await;
    let runs = history::finished_runs(stack.servers(), &stack.topic("checkpoints")).await;
    let portal_id = portal.id().cast_signed();
    log.assert_exactly_once();
    assert!(history.checked(portal_id, &runs) > 1_000, "{}", runs.len());
    check::assert_no_violations(&history.lost(portal_id, &log, &runs));
    stack.matches_truth("contacts").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_and_bursts_of_429_are_waited_out_and_reported() {
    let stack = Stack::with(3_000, 30).start().await;
    let faults = stack.simulator.faults();
    for policy in [Policy::TenSecondlyRolling, Policy::Secondly] {
        let limited = Fault::RateLimited {
            policy,
            retry_after: Some(1),
        };
        faults.push(Rule::next(Kind::List, limited).of("contacts").times(3));
    }
    let down = Fault::Status {
        code: 503,
        body: FaultBody::Html,
        retry_after: None,
    };
    faults.push(
        Rule::next(Kind::List, down)
            .of("contacts")
            .times(u32::MAX)
            .after(2),
    );
    let api = stack.api();
    api.start("default", json!({})).await;
    let connection = api
        .until("the outage is reported", "default", HANG_LIMIT, |it| {
            let message = stream(it, "contacts")["error"]["message"].as_str();
            message.is_some_and(|it| it.contains("503"))
        })
        .await;
    assert_eq!(stream(&connection, "contacts")["phase"], "waiting");
    faults.clear();
    stack.first_sync(json!({})).await;
    stack.matches_truth("contacts").await;
    stack.log().await.assert_exactly_once();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_failed_by_a_revoked_token_resumes_with_a_valid_one() {
    let stack = Stack::with(6_000, 10).start().await;
    stack.simulator.set_latency(Duration::from_millis(80));
    let portal_id = stack.simulator.portal().id();
    let api = stack.api();
    api.start("default", json!({"streams": ["contacts"]})).await;
    eventually("the backfill runs", HANG_LIMIT, async || {
        (stack.simulator.requests().count(Kind::List) > 15).then_some(())
    })
    .await;
    stack.simulator.revoke_token(harness::stack::TOKEN);
    let refused = api
        .until("the refusal is shown", "default", HANG_LIMIT, |it| {
            it["observed"]["error"]["code"] == "unauthorized"
        })
        .await;
    let run = stream(&refused, "contacts")["run_id"].clone();
    stack
        .simulator
        .assign_token(harness::stack::TOKEN, portal_id);
    stack.simulator.set_latency(Duration::ZERO);
    stack.first_sync(json!({"streams": ["contacts"]})).await;
    let log = stack.log().await;
    log.assert_exactly_once();
    let of_the_run = log.records.iter().filter(|it| it.run_id == run);
    assert!(of_the_run.count() > 5_900, "the run keeps its id");
    stack.matches_truth("contacts").await;
}

/// Offset of the portal from UTC, and the time before its midnight at which the
/// sync starts: enough to spend the day's allowance on a busy machine.
const FROM_UTC: Duration = Duration::from_hours(5);
const LATE_EVENING: Duration = Duration::from_secs(45);

/// Moves HubSpot's clock to shortly before the portal's midnight.
fn advance_to_late_evening(simulator: &Simulator) {
    let day = Duration::from_hours(24).as_millis();
    let now = u128::try_from(simulator.clock().now_ms()).unwrap();
    // The portal is west of UTC, so its midnight is later.
    let evening = FROM_UTC.as_millis() + day - LATE_EVENING.as_millis();
    let left = (evening - now % day) % day;
    simulator.advance(Duration::from_millis(u64::try_from(left).unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daily_limit_is_waited_out_until_the_accounts_midnight() {
    let stack = Stack::with(6_000, 10)
        .portal(|portal| {
            portal.utc_offset_minutes = -i64::try_from(FROM_UTC.as_secs() / 60).unwrap();
            portal.limits = Limits {
                daily: Some(40),
                ..Limits::off()
            };
        })
        .worker("HUBSPOT_RATE_LIMIT", "auto")
        .start()
        .await;
    advance_to_late_evening(&stack.simulator);
    let api = stack.api();
    api.start("default", json!({"streams": ["contacts"]})).await;
    let connection = api
        .until("the stream waits", "default", HANG_LIMIT, |it| {
            !stream(it, "contacts")["error"].is_null()
        })
        .await;
    let contacts = stream(&connection, "contacts");
    assert_eq!(contacts["error"]["code"], "daily_limit", "{contacts}");
    stack.simulator.portal().set_limits(Limits {
        daily: Some(5_000),
        ..Limits::off()
    });
    stack.first_sync(json!({"streams": ["contacts"]})).await;
    stack.matches_truth("contacts").await;
    stack.log().await.assert_exactly_once();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_shows_how_much_of_the_limits_of_its_account_is_used() {
    let stack = Stack::with(300, 10)
        .portal(|portal| {
            portal.limits = Limits {
                daily_used: 1_000,
                ..Limits::default()
            };
        })
        .worker("HUBSPOT_RATE_LIMIT", "auto")
        .worker("HUBSPOT_SEARCH_LIMIT", "auto")
        .start()
        .await;
    stack.first_sync(json!({"interval": "1h"})).await;
    let shown = |used: fn(u64) -> bool| {
        move |connection: &Value| {
            let budget = &connection["observed"]["budget"];
            let general = &budget["general"];
            let used = general["used"].as_u64().is_some_and(used);
            used && (&general["limit"], &general["window"]) == (&json!(190), &json!("10s"))
                && (&budget["search"]["limit"], &budget["search"]["window"])
                    == (&json!(5), &json!("1s"))
                && budget["day"]["limit"] == 625_000
                && budget["day"]["used"]
                    .as_u64()
                    .is_some_and(|used| (1_001..1_100).contains(&used))
                && budget["day"]["resets_at"].is_string()
        }
    };
    let api = stack.api();
    let (what, limit) = ("the limits and the day are shown", HANG_LIMIT);
    api.until(what, "default", limit, shown(|used| used <= 60))
        .await;
    let what = "requests do not count once the window has passed";
    api.until(what, "default", limit, shown(|used| used == 0))
        .await;
}
