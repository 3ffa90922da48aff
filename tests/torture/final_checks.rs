//! The end of a run: ends all faults, waits until the system has converged, and
//! checks every promise.

use std::{collections::HashSet, process::ExitCode, time::Duration};

use harness::{
    RecordLog, Stack, Timeline,
    check::{self, Rule, Violation},
    history, replica, servers, truth,
};
use hubspot_sim::{Kind, Seen};
use serde_json::json;

use crate::{
    hubspot_faults::LATENCY,
    stop_races,
    system::{STREAMS, System, TYPES, WORKERS},
};

/// How long the system may take to converge once the faults are over.
const CONVERGE: Duration = Duration::from_mins(6);
/// How long ClickHouse may take to hold what is in the log.
const LOAD_LIMIT: Duration = Duration::from_mins(2);
/// On a busy machine the simulator may log a request this much later than it was
/// sent.
const LOG_DELAY: Duration = Duration::from_millis(50);
/// Tolerance between the simulator's clock and Kafka's, and the time that a deletion
/// may take after the answers that caused it, in ms.
const AFTER_VIEW: i64 = 10_000;
/// Deletions of one stream that need no proof but two reads, where a token sees a share.
const FEW: usize = 10;
/// Requests within this time before and after a kill are compared.
const BEFORE_KILL: Duration = Duration::from_secs(3);
const AFTER_KILL: Duration = Duration::from_secs(15);

/// Ends the faults, runs the races of stops, waits and checks.
pub(crate) async fn run(system: System, races: u64) -> ExitCode {
    let timeline = system.timeline.clone();
    heal(&system).await;
    stop_races::run(&system, races).await;
    timeline.note(format!("{races} races of stop and requests are over"));
    let stack = system.stack.lock().await;
    for account in &system.accounts {
        let path = format!("/v1/connections/{}/start", account.connection);
        let body = json!({"interval": "10m", "credential": account.settings["credential"]});
        let answer = system.api.send("POST", &path, Some(body)).await;
        assert!(matches!(answer.status, 200..=202), "{answer:?}");
    }
    let mut violations = at_rest(&system, &stack).await;
    for account in &system.accounts {
        system.api.stop(account.connection).await;
    }
    let log = stack.log().await;
    violations.extend(violations_of_the_log(&system, &stack, &log).await);
    violations.extend(copies(&system, &stack, &log).await);
    system.api.rebuild().await;
    timeline.note("the warehouse was rebuilt from the log");
    violations.extend(copies(&system, &stack, &log).await);
    print_counters(&system, &stack, &violations).await;
    if violations.is_empty() {
        timeline.note("nothing lost, nothing duplicated");
        return ExitCode::SUCCESS;
    }
    panic!("{}", check::report(&violations));
}

/// Ends every fault and restarts what has ended.
async fn heal(system: &System) {
    system.simulator.faults().clear();
    system.simulator.set_latency(LATENCY);
    let mut stack = system.stack.lock().await;
    stack.links().heal_all();
    tokio::task::block_in_place(|| {
        let own = stack.own_servers();
        servers::wait_until_ready(own.own_kafka());
        servers::wait_until_ready(own.own_registry());
        servers::wait_until_ready(&mut stack.clickhouse);
    });
    for index in 0..WORKERS {
        if !stack.workers[index].is_running() {
            system
                .timeline
                .note(format!("worker {index} had ended by itself"));
            stack.restart_worker(index, &[]);
        }
    }
    for index in 0..stack.instances.len() {
        if !stack.instances[index].process.is_running() {
            system
                .timeline
                .note(format!("data-streams {index} had ended by itself"));
            stack.restart_data_streams(index);
        }
    }
    drop(stack);
    system.api.ready().await;
    // The group may still have members that were killed a moment ago, so a worker
    // can take some seconds to own the connection.
    for account in &system.accounts {
        let api = &system.api;
        api.until_applied(account.connection, "stop", None).await;
    }
    system.timeline.note("healed");
}

/// Waits until passes have found all that the faults have hidden, and then that further
/// ones write nothing.
async fn at_rest(system: &System, stack: &Stack) -> Vec<Violation> {
    let names = system.accounts.iter().map(|it| it.connection);
    let passes = async || {
        let ends = names.clone();
        let ends = ends.map(|name| replica::passes_end(&system.api, name, &STREAMS, CONVERGE));
        futures::future::join_all(ends).await;
    };
    // What the first ones do not find has been read by its id before the second end.
    passes().await;
    passes().await;
    let before = stack.log().await;
    system
        .timeline
        .note("passes have brought the log up to date");
    passes().await;
    let written = replica::written_at_rest(&before, &stack.log().await);
    system
        .timeline
        .note(format!("further passes wrote {} records", written.len()));
    written
}

async fn violations_of_the_log(system: &System, stack: &Stack, log: &RecordLog) -> Vec<Violation> {
    let runs = history::finished_runs(stack.servers(), &stack.topic("checkpoints")).await;
    let mut found = check::no_duplicates(log);
    found.extend(check::in_order(log));
    for (account, history) in system.accounts.iter().zip(&system.histories) {
        let portal = &account.portal;
        let id = portal.id();
        found.extend(history.lock().unwrap().lost(id.cast_signed(), log, &runs));
        for stream in STREAMS {
            let in_log = check::compacted(log, id, stream);
            let truth = truth::truth(portal, stream);
            let kind = format!("log of {}: {stream}", account.connection);
            found.extend(check::same(&in_log, &truth, &kind));
            // Associations are deleted with an object that is archived, and come back with it.
            if TYPES.contains(&stream) {
                found.extend(deleted_alive(system, log, (id, stream), &truth));
            }
        }
    }
    found.extend(dead_letters(system).await);
    found.extend(asked_while_stopped(system));
    found
}

/// Deletions of objects that the portal has. While a token sees a share of the objects,
/// HubSpot answers each read as if they were gone; only that not many are deleted can be
/// expected.
fn deleted_alive(
    system: &System,
    log: &RecordLog,
    of: (u64, &str),
    truth: &hubspot_sim::Truth,
) -> Vec<Violation> {
    let views = system.partial_views.lock().unwrap();
    let hidden = std::cell::Cell::new(0);
    let mut found = replica::deleted_alive(log, of, truth, |record| {
        let in_view =
            |(from, until): &(i64, i64)| (*from..until + AFTER_VIEW).contains(&record.written_at);
        let excused = views.iter().any(in_view);
        hidden.set(hidden.get() + usize::from(excused));
        excused
    });
    let hidden = hidden.get();
    system.timeline.note(format!(
        "{}: {hidden} living objects deleted in partial views",
        of.1
    ));
    if hidden > FEW * views.len() {
        found.push(Violation {
            rule: Rule::Alive,
            object: format!("{}/{}", of.0, of.1),
            detail: format!("{hidden} in {} partial views", views.len()),
        });
    }
    found
}

/// What ClickHouse has, compared with HubSpot and with the log.
async fn copies(system: &System, stack: &Stack, log: &RecordLog) -> Vec<Violation> {
    let mut found = Vec::new();
    for account in &system.accounts {
        let (portal, destination) = (&account.portal, account.destination);
        for stream in STREAMS {
            let of = (portal.id(), stream);
            found.extend(
                truth::last_differences(stack, destination, portal, stream, LOAD_LIMIT).await,
            );
            found.extend(replica::last_differences(stack, destination, of, log, LOAD_LIMIT).await);
        }
        found.extend(stored_once(stack, destination, portal.id(), log).await);
    }
    found
}

/// Checks that the history of changes has each record of the log once.
async fn stored_once(
    stack: &Stack,
    destination: &str,
    portal_id: u64,
    log: &RecordLog,
) -> Option<Violation> {
    let written = log
        .records
        .iter()
        .filter(|it| it.portal_id == portal_id.cast_signed())
        .count();
    let sql = format!("SELECT count() FROM {destination}_raw.changes FINAL");
    let stored = stack.sql().number(&sql).await;
    let differs = i64::try_from(written).expect("a count") != stored;
    differs.then(|| Violation {
        rule: Rule::NoDuplicate,
        object: format!("{destination}_raw.changes"),
        detail: format!("{stored} rows for {written} records of the log"),
    })
}

async fn dead_letters(system: &System) -> Option<Violation> {
    let answer = system.api.get("/v1/dead-letters").await;
    let letters = answer["results"].as_array().map_or(0, Vec::len);
    (letters > 0).then(|| Violation {
        rule: Rule::Present,
        object: "dead letters".to_owned(),
        detail: format!("{letters}, such as {}", answer["results"][0]),
    })
}

/// Requests between the answer to a stop and the next start.
fn asked_while_stopped(system: &System) -> Vec<Violation> {
    let requests = system.simulator.requests().all();
    let stopped = system.stopped.lock().unwrap();
    let held_back = system.held_back.lock().unwrap();
    let mut violations = Vec::new();
    for (portal_id, from, to) in stopped.iter() {
        // The network held back requests that had been sent before.
        let held = held_back.iter().filter(|it| it.0 < *from && *from < it.1);
        let arrived = held.map(|it| it.1).max().unwrap_or(*from);
        let asked = requests.iter().filter(|seen| {
            seen.portal_id == *portal_id && seen.at > arrived + LOG_DELAY && seen.at < *to
        });
        violations.extend(asked.map(|seen| Violation {
            rule: Rule::Order,
            object: format!("account {portal_id}"),
            detail: format!(
                "{:?} {} {:?} after the answer to a stop",
                seen.kind,
                seen.object_type,
                seen.at.duration_since(*from)
            ),
        }));
    }
    violations
}

/// How many pages were requested again right after a worker was killed.
fn fetched_again(system: &System) -> usize {
    let requests = system.simulator.requests().all();
    let page =
        |seen: &&Seen| matches!(seen.kind, Kind::List | Kind::ListArchived | Kind::BatchRead);
    let key = |seen: &Seen| {
        let what = (seen.portal_id, seen.object_type.clone());
        (what, seen.query.clone(), seen.body.clone())
    };
    let mut again = 0;
    for killed in system.counters.kill_times() {
        let before: HashSet<_> = requests
            .iter()
            .filter(|seen| seen.at <= killed && seen.at + BEFORE_KILL >= killed)
            .filter(page)
            .map(key)
            .collect();
        again += requests
            .iter()
            .filter(|seen| seen.at > killed && seen.at < killed + AFTER_KILL)
            .filter(page)
            .filter(|seen| before.contains(&key(seen)))
            .count();
    }
    again
}

async fn print_counters(system: &System, stack: &Stack, violations: &[Violation]) {
    let timeline: &Timeline = &system.timeline;
    let log = stack.log().await;
    let of = |rules: &[Rule]| {
        let broken = violations.iter().filter(|it| rules.contains(&it.rule));
        broken.count()
    };
    let versions: usize = system
        .histories
        .iter()
        .map(|history| history.lock().unwrap().versions())
        .sum();
    let mut lines: Vec<(String, u64)> = system.counters.lines();
    let mut line = |name: &str, count: usize| lines.push((name.to_owned(), count as u64));
    line("seconds in all", {
        usize::try_from(timeline.elapsed().as_secs()).unwrap_or_default()
    });
    line("records in the log", log.records.len());
    line("versions in hubspot", versions);
    let runs = history::finished_runs(stack.servers(), &stack.topic("checkpoints")).await;
    line("runs that moved a cursor", runs.len());
    line("versions compared with the log", {
        let judged = system.accounts.iter().zip(&system.histories);
        let judged = judged.map(|(account, history)| {
            let portal_id = account.portal.id().cast_signed();
            history.lock().unwrap().checked(portal_id, &runs)
        });
        judged.sum()
    });
    line("pages fetched again after a kill", fetched_again(system));
    line(
        "lost",
        of(&[Rule::Present, Rule::Same, Rule::Version, Rule::Replica]),
    );
    line(
        "duplicated",
        of(&[Rule::NoDuplicate, Rule::Order, Rule::Unexpected, Rule::Rest]),
    );
    line("living objects deleted", of(&[Rule::Alive]));
    for (name, count) in lines {
        timeline.note(format!("{count:>8} {name}"));
    }
}
