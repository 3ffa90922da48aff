//! Random changes of a demo portal over time.

use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tokio_util::sync::CancellationToken;

use crate::{
    change::{Change, Properties},
    portal::Portal,
};

/// Changes a portal until it is stopped.
pub(crate) async fn run(portal: Portal, per_second: f64, stop: CancellationToken) {
    // Seeded by the time, so that a restart does not repeat the changes.
    let mut rng = StdRng::seed_from_u64(portal.now_ms().unsigned_abs());
    let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / per_second.max(0.001)));
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {
                if let Some(change) = next(&portal, &mut rng)
                    && let Err(error) = portal.apply(&change)
                {
                    tracing::warn!(%error, "cannot apply a random change");
                }
            }
        }
    }
}

/// Mostly updates, and some changes that search does not show.
fn next(portal: &Portal, rng: &mut StdRng) -> Option<Change> {
    let contacts = rng.random_ratio(9, 10);
    let object_type = if contacts { "contacts" } else { "companies" };
    let count = rng.random_range(0..100_000_u32);
    let mut properties = Properties::new();
    if contacts {
        properties.insert("jobtitle".into(), Some(format!("Chief of {count}")));
        properties.insert("hs_analytics_num_visits".into(), Some(count.to_string()));
    } else {
        properties.insert("numberofemployees".into(), Some(count.to_string()));
    }
    let names = portal.property_names(object_type);
    properties.retain(|name, _| names.contains(name));
    let live = one_of(portal, object_type, rng, false);
    let name = object_type.to_owned();
    Some(match rng.random_range(0..100) {
        0..80 => Change::Update {
            object_type: name,
            id: live?,
            properties,
        },
        80..90 => Change::Create {
            object_type: name,
            id: None,
            properties,
        },
        90..94 => Change::Archive {
            object_type: name,
            id: live?,
        },
        94..97 => Change::Restore {
            object_type: name,
            id: one_of(portal, object_type, rng, true)?,
        },
        97..99 => {
            let secondary =
                one_of(portal, object_type, rng, false).filter(|id| Some(*id) != live)?;
            Change::Merge {
                object_type: name,
                primary: live?,
                secondary,
            }
        }
        _ => Change::Erase {
            object_type: name,
            id: live?,
        },
    })
}

fn one_of(portal: &Portal, object_type: &str, rng: &mut StdRng, archived: bool) -> Option<u64> {
    let data = portal.data();
    let table = data.state.table(object_type)?;
    let rows = table.rows(archived);
    let (first, last) = (*rows.first_key_value()?.0, *rows.last_key_value()?.0);
    // A random id, then the next object, so that no list is copied.
    let start = if rng.random_ratio(1, 10) {
        first
    } else {
        rng.random_range(first..=last)
    };
    rows.range(start..).next().map(|(id, _)| *id)
}
