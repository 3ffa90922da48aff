//! CPU time of the simulator, which runs on the same cores as the measured system:
//! pages of the list with all properties.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::Value;
use tokio::task::JoinSet;

use super::Scale;
use crate::{
    result::{Goal, Reading},
    system::{System, TOKEN},
    usage,
};

/// Clients that read at once.
const CLIENTS: u32 = 4;

pub(super) async fn run(scale: Scale) -> anyhow::Result<Vec<Reading>> {
    let contacts: u32 = scale.of(1_000, 1_000_000, 3_000_000);
    let folder = tempfile::tempdir()?;
    let builder = System::of(contacts).simulator("HUBSPOT_SIM_DISTINCT", "50000");
    let (process, url) = builder.start_simulator(folder.path()).await?;
    let before = usage::of(process.pid())?;
    let (pages, _) = read_pages(&url, scale.of(Duration::from_millis(200), SPAN, SPAN)).await?;
    let after = usage::of(process.pid())?;
    let records = f64::from(pages * 100);
    Ok(vec![
        Reading::new(
            "records of the list per CPU second",
            records / (after.cpu_seconds - before.cpu_seconds).max(0.01),
            "records/s",
        )
        .goal(Goal::AtLeast(200_000.0)),
        Reading::new(
            format!("memory with {contacts} contacts"),
            after.resident_mib,
            "MiB",
        ),
    ])
}

/// Time limit of a request.
const TIMEOUT: Duration = Duration::from_secs(30);

/// How long pages are read.
const SPAN: Duration = Duration::from_secs(4);

/// Reads pages for a time, with several clients that start at different ids; the
/// number of pages, and the seconds that it took.
pub(super) async fn read_pages(url: &str, span: Duration) -> anyhow::Result<(u32, f64)> {
    let http = reqwest::Client::builder().timeout(TIMEOUT).build()?;
    let properties = property_names(&http, url).await?;
    let began = Instant::now();
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let list = format!("{url}/crm/objects/2026-09/contacts?limit=100&properties={properties}");
        clients.spawn(read_list(http.clone(), list, client, began + span));
    }
    let mut pages = 0;
    while let Some(read) = clients.join_next().await {
        pages += read??;
    }
    Ok((pages, began.elapsed().as_secs_f64()))
}

async fn read_list(
    http: reqwest::Client,
    list: String,
    client: u32,
    until: Instant,
) -> anyhow::Result<u32> {
    // Most ids are above this; a cursor need not be the id of an object.
    let first = format!("{}", 20_000_000_000_u64 + u64::from(client) * 100_000);
    let (mut after, mut pages) = (first.clone(), 0);
    while Instant::now() < until {
        let request = http.get(format!("{list}&after={after}")).bearer_auth(TOKEN);
        let page = request.send().await?.error_for_status()?.bytes().await?;
        after = next(&page).unwrap_or_else(|| first.clone());
        pages += 1;
    }
    Ok(pages)
}

/// The cursor at the end of a page.
fn next(page: &[u8]) -> Option<String> {
    let tail = page.get(page.len().saturating_sub(300)..)?;
    let tail = String::from_utf8_lossy(tail);
    let (_, rest) = tail.rsplit_once("\"next\":{\"after\":\"")?;
    Some(rest.split_once('"')?.0.to_owned())
}

async fn property_names(http: &reqwest::Client, url: &str) -> anyhow::Result<String> {
    let request = http.get(format!("{url}/crm/properties/2026-09/contacts"));
    let answer: Value = request.bearer_auth(TOKEN).send().await?.json().await?;
    let results = answer.get("results").and_then(Value::as_array);
    let names = results.context("the portal has no properties")?.iter();
    let names: Vec<&str> = names.filter_map(|it| it.get("name")?.as_str()).collect();
    Ok(names.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cursor_is_found_at_the_end_of_a_page() {
        let page = br#"{"results":[{"id":"1"}],"paging":{"next":{"after":"17","link":"x"}}}"#;
        assert_eq!(next(page).as_deref(), Some("17"));
        assert_eq!(next(br#"{"results":[]}"#), None);
    }
}
