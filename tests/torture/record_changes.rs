//! Keeps changing the records of an account, and sometimes its definitions.

use std::sync::Arc;

use hubspot_sim::{Change, ChangeError, Definition, Portal};
use rand::{RngExt as _, rngs::StdRng};

use crate::system::{System, TYPES, one_of};

/// Properties that are defined, changed and archived.
const EXTRA: [&str; 4] = ["torture_a", "torture_b", "torture_c", "torture_d"];

/// Changes an account until the faults are over.
pub(crate) async fn run(system: Arc<System>, index: usize) {
    let account = &system.accounts[index];
    let mut choices = system
        .timeline
        .choices(&format!("changes of {}", account.connection));
    while system.pause_between(&mut choices, 0.01, 0.25).await {
        let Some(change) = next(&account.portal, &mut choices) else {
            continue;
        };
        let applied = system.histories[index]
            .lock()
            .unwrap()
            .apply(&account.portal, &change);
        match applied {
            Ok(_) => system.counters.count(name(&change)),
            // Fails for a property that does not exist, for example.
            Err(ChangeError::Log(error)) => panic!("the simulator: {error}"),
            Err(_) => {}
        }
        if matches!(
            change,
            Change::DefineProperty { .. } | Change::ArchiveProperty { .. }
        ) {
            system
                .timeline
                .note(format!("{}: {}", account.connection, name(&change)));
        }
    }
}

fn name(change: &Change) -> &'static str {
    match change {
        Change::Create { .. } => "changes: created",
        Change::Update { .. } => "changes: updated",
        Change::Bulk { .. } => "changes: bulk",
        Change::Calculate { .. } => "changes: calculated",
        Change::Archive { .. } => "changes: archived",
        Change::Restore { .. } => "changes: restored",
        Change::Erase { .. } => "changes: erased",
        Change::Merge { .. } => "changes: merged",
        Change::Associate { .. } => "changes: associated",
        Change::Dissociate { .. } => "changes: dissociated",
        _ => "changes: definitions",
    }
}

fn next(portal: &Portal, choices: &mut StdRng) -> Option<Change> {
    let object_type = (*one_of(choices, &TYPES)).to_owned();
    let number = choices.random_range(0..100_000_u32).to_string();
    let property = if object_type == "contacts" {
        "jobtitle"
    } else {
        "numberofemployees"
    };
    let mut properties = hubspot_sim::Properties::new();
    properties.insert(property.to_owned(), Some(number.clone()));
    let extra = (*one_of(choices, &EXTRA)).to_owned();
    if portal.property_names(&object_type).contains(&extra) && choices.random_ratio(1, 4) {
        properties.insert(extra.clone(), Some(number));
    }
    let ids = portal.ids(&object_type);
    if ids.len() < 30 {
        return Some(Change::Create {
            object_type,
            id: None,
            properties,
        });
    }
    let id = *one_of(choices, &ids);
    Some(match choices.random_range(0..1_000) {
        0..80 => return association(portal, choices),
        80..680 => Change::Update {
            object_type,
            id,
            properties,
        },
        680..700 => Change::Bulk {
            object_type,
            ids: some_of(ids, choices),
            at: None,
            properties,
        },
        700..720 => Change::Calculate {
            object_type,
            id,
            properties,
        },
        720..860 => Change::Create {
            object_type,
            id: None,
            properties,
        },
        860..910 => Change::Archive { object_type, id },
        910..950 => {
            let archived = portal.archived_ids(&object_type);
            if archived.is_empty() {
                return None;
            }
            let id = *one_of(choices, &archived);
            Change::Restore { object_type, id }
        }
        950..975 => {
            let secondary = *one_of(choices, &ids);
            if secondary == id {
                return None;
            }
            Change::Merge {
                object_type,
                primary: id,
                secondary,
            }
        }
        975..990 => Change::Erase { object_type, id },
        990..996 => {
            let kind = *one_of(choices, &["number", "string"]);
            let field = if kind == "number" { "number" } else { "text" };
            let definition = Box::new(Definition::new(&extra, kind, field));
            Change::DefineProperty {
                object_type,
                definition,
            }
        }
        _ => Change::ArchiveProperty {
            object_type,
            name: extra,
        },
    })
}

/// Associates a contact with a company, with a label or without one, or ends that.
fn association(portal: &Portal, choices: &mut StdRng) -> Option<Change> {
    let [from_type, to_type] = TYPES.map(str::to_owned);
    let (contacts, companies) = (portal.ids(&from_type), portal.ids(&to_type));
    if contacts.is_empty() || companies.is_empty() {
        return None;
    }
    let from = *one_of(choices, &contacts);
    let known = portal.associated(&from_type, from, &to_type);
    if let Some(to) = known.first().filter(|_| choices.random_ratio(1, 2)) {
        return Some(Change::Dissociate {
            from_type,
            from,
            to_type,
            to: *to,
        });
    }
    let label = choices
        .random_ratio(1, 3)
        .then(|| "Billing contact".to_owned());
    Some(Change::Associate {
        from_type,
        from,
        to_type,
        to: *one_of(choices, &companies),
        label,
    })
}

/// Twenty consecutive ids.
fn some_of(ids: Vec<u64>, choices: &mut StdRng) -> Vec<u64> {
    let first = choices.random_range(0..ids.len());
    ids.into_iter().skip(first).take(20).collect()
}
