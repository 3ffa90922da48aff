//! The endpoints, each from a parsed request to an answer.

mod associations;
mod batch_read;
mod list;
mod list_page;
mod portal_info;
mod record_limits;
mod search;

use std::{borrow::Cow, sync::Arc};

use crate::{
    answer::Answer,
    definitions::Definitions,
    faults::{Asked, Fault, FaultBody, Faults},
    json,
    portal::Portal,
    record::Record,
    route::{self, Kind, Route},
    selection::Selection,
    sensitivity::Withheld,
    share::Share,
    table::Table,
};

/// A request of a known portal.
#[derive(Debug)]
pub(crate) struct ApiCall<'a> {
    pub(crate) portal: &'a Portal,
    pub(crate) route: &'a Route,
    pub(crate) query: &'a str,
    pub(crate) body: &'a [u8],
    pub(crate) faults: &'a Faults,
    pub(crate) asked: Asked<'a>,
}

impl ApiCall<'_> {
    /// See [`Faults::of_endpoint`].
    fn wrong<T>(&self, mut effect: impl FnMut(&Fault) -> Option<T>) -> Option<T> {
        self.faults
            .of_endpoint(self.asked, |fault, _| effect(fault))
    }

    /// Fails where a fault says so for these objects.
    fn check(&self, records: &[Record]) -> Result<(), Answer> {
        self.check_asked(records, |record| record.id)
    }

    /// The same, for what names their ids.
    fn check_asked<T>(&self, asked: &[T], id: impl Fn(&T) -> u64) -> Result<(), Answer> {
        let failed = self.wrong(|fault| match fault {
            Fault::PageTimeout { above } => {
                (asked.len() > *above).then(|| FaultBody::Html.answer(524))
            }
            Fault::FailingObjects { ids, code, body } => asked
                .iter()
                .any(|it| ids.contains(&id(it)))
                .then(|| body.answer(*code)),
            _ => None,
        });
        failed.map_or(Ok(()), Err)
    }

    /// Whether a batch read misses this object.
    fn misses(&self, id: u64) -> bool {
        let missed = self.faults.of_endpoint(self.asked, |fault, draw| {
            let missed = match fault {
                Fault::MissedIds { ids } => ids.contains(&id),
                Fault::RandomMisses { percent, seed } => Share {
                    percent: *percent,
                    seed: *seed,
                }
                .drawn(id, draw),
                _ => false,
            };
            missed.then_some(())
        });
        missed.is_some()
    }

    /// The share of the objects that the request sees; `None` is all.
    fn view(&self) -> Option<Share> {
        self.wrong(|fault| match *fault {
            Fault::PartialView { percent, seed } => Some(Share { percent, seed }),
            _ => None,
        })
    }

    /// The sensitive values that the request does not see.
    fn withheld(&self) -> Withheld {
        self.portal.withheld(self.asked.object_type)
    }

    /// A parameter of the query string, still encoded.
    fn raw(&self, name: &str) -> Option<&str> {
        json::pairs(self.query)
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value)
    }

    /// A parameter of the query string.
    fn parameter(&self, name: &str) -> Option<String> {
        self.raw(name)
            .map(json::decode)
            .filter(|value| !value.is_empty())
    }

    /// The names of properties, still encoded: one list with commas, or a parameter
    /// for each, as HubSpot's SDKs send them.
    fn names(&self) -> Option<Cow<'_, str>> {
        let mut all = json::pairs(self.query).filter(|(key, _)| *key == "properties");
        let (_, first) = all.next()?;
        let Some((_, second)) = all.next() else {
            return Some(Cow::Borrowed(first));
        };
        let mut joined = format!("{first},{second}");
        for (_, name) in all {
            joined.push(',');
            joined.push_str(name);
        }
        Some(Cow::Owned(joined))
    }

    fn archived(&self) -> bool {
        route::asks_archived(self.query)
    }

    fn limit(&self, default: usize, most: usize) -> Result<usize, Answer> {
        let Some(text) = self.parameter("limit") else {
            return Ok(default);
        };
        match text.parse() {
            Ok(limit) if (1..=most).contains(&limit) => Ok(limit),
            _ => Err(Answer::invalid(&format!(
                "limit must be between 1 and {most}"
            ))),
        }
    }
}

/// Answers a request.
pub(crate) fn answer(call: &ApiCall<'_>) -> Answer {
    let answered = match call.route.kind {
        Kind::List | Kind::ListArchived => list::page(call),
        Kind::Read => list::one(call),
        Kind::Search => search::page(call),
        Kind::BatchRead => batch_read::read(call),
        Kind::Associations => associations::read(call),
        Kind::Properties => portal_info::properties(call),
        Kind::Details => Ok(portal_info::details(call)),
        Kind::Usage => Ok(portal_info::usage(call)),
        Kind::Owners => portal_info::owners(call),
        Kind::Schemas => Ok(portal_info::schemas(call)),
        Kind::Pipelines => portal_info::pipelines(call),
        Kind::RecordLimits => Ok(record_limits::usage(call)),
        Kind::OAuth | Kind::TokenInfo | Kind::Unknown => Err(Answer::no_such_path()),
    };
    answered.unwrap_or_else(|refused| refused)
}

/// The objects of an answer, copied from the portal, so that they are written
/// without its lock.
struct Page {
    definitions: Arc<Definitions>,
    selection: Selection,
    records: Vec<Record>,
}

impl Page {
    fn new(table: &Table, selection: Selection) -> Self {
        Self {
            definitions: Arc::clone(&table.definitions),
            selection,
            records: Vec::with_capacity(100),
        }
    }

    /// Estimated size in bytes.
    fn size_hint(&self) -> usize {
        let each = match &self.selection {
            Selection::All => 2_048,
            Selection::Some(slots) => 256 + 48 * slots.len(),
        };
        256 + each * self.records.len()
    }

    /// Writes the objects, separated by commas.
    fn write(&self, out: &mut Vec<u8>) {
        for (number, record) in self.records.iter().enumerate() {
            if number > 0 {
                out.push(b',');
            }
            record.write_selected(&self.definitions, &self.selection, out);
        }
    }
}

/// The scopes of an object type, any one of which is enough.
pub(crate) fn scopes_of(table: &Table) -> Vec<String> {
    match table.name.as_str() {
        "tickets" => vec!["tickets".to_owned()],
        "calls" | "meetings" | "notes" | "tasks" | "communications" => {
            vec!["crm.objects.contacts.read".to_owned()]
        }
        "emails" => vec![
            "crm.objects.contacts.read".to_owned(),
            "sales-email-read".to_owned(),
        ],
        "line_items" => vec![
            "e-commerce".to_owned(),
            "crm.objects.line_items.read".to_owned(),
        ],
        name if name.starts_with("p_") => vec!["crm.objects.custom.read".to_owned()],
        name => vec![
            format!("crm.objects.{name}.read"),
            format!("crm.objects.{name}.write"),
        ],
    }
}
