//! The rules for log and warehouse. Pure functions: a check returns each object
//! that breaks a rule.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt::{self, Write as _},
};

use hubspot_sim::{Digest, TrueObject, Truth, object_hash};

use crate::{RecordLog, truth::comparable_time};

/// How many violations a failure prints.
const NAMED: usize = 20;

/// A rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// A run writes each version of an object at most once.
    NoDuplicate,
    /// No version of an object is followed by an older one.
    Order,
    /// Every object of the portal is found.
    Present,
    /// No object is found that the portal does not have.
    Unexpected,
    /// An object equals that of the portal.
    Same,
    /// Every version is found that a run must have read.
    Version,
    /// Nothing is written while nothing changes.
    Rest,
    /// No object gets a deletion that the portal has.
    Alive,
    /// ClickHouse has what a compacted reader of the log has.
    Replica,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoDuplicate => "duplicate",
            Self::Order => "an older version follows a newer one",
            Self::Present => "missing",
            Self::Unexpected => "found, but not in HubSpot",
            Self::Same => "differs from HubSpot",
            Self::Version => "a version is missing",
            Self::Rest => "written though nothing has changed",
            Self::Alive => "deleted, but in HubSpot",
            Self::Replica => "ClickHouse differs from the compacted log",
        })
    }
}

/// An object that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The rule.
    pub rule: Rule,
    /// Object type and id.
    pub object: String,
    /// What was found.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.object, self.rule, self.detail)
    }
}

/// Panics if there are violations, and prints them.
pub fn assert_no_violations(violations: &[Violation]) {
    assert!(violations.is_empty(), "{}", report(violations));
}

/// The number of violations, and the first of them, as text.
pub fn report(violations: &[Violation]) -> String {
    let mut text = format!("{} violations", violations.len());
    for violation in violations.iter().take(NAMED) {
        let _infallible = write!(text, "\n  {violation}");
    }
    text
}

/// Finds versions (run, object, last-modified, archived, deleted, content) that are in
/// the log twice. A run keeps its id over a crash.
pub fn no_duplicates(log: &RecordLog) -> Vec<Violation> {
    let mut seen = HashMap::new();
    let mut violations = Vec::new();
    for record in &log.records {
        let identity = (
            (&record.run_id, &record.key),
            (record.updated_at, record.archived, record.deleted),
            record.content_hash,
        );
        if let Some(first) = seen.insert(identity, record.at) {
            violations.push(Violation {
                rule: Rule::NoDuplicate,
                object: record.key.clone(),
                detail: format!(
                    "at {first:?} and {:?}, last-modified {}, {} run {}",
                    record.at, record.updated_at, record.reason, record.run_id
                ),
            });
        }
    }
    violations
}

/// Finds versions (last-modified, then fetch sequence) that are older than the
/// one before them.
pub fn in_order(log: &RecordLog) -> Vec<Violation> {
    let mut newest = HashMap::new();
    let mut violations = Vec::new();
    for record in &log.records {
        let version = (record.version, record.at);
        match newest.insert(record.key.as_str(), version) {
            Some((before, at)) if before >= record.version => violations.push(Violation {
                rule: Rule::Order,
                object: record.key.clone(),
                detail: format!(
                    "{before:x} at {at:?}, then {:x} at {:?} ({} run {}{})",
                    record.version,
                    record.at,
                    record.reason,
                    record.run_id,
                    if record.deleted { ", a deletion" } else { "" },
                ),
            }),
            _ => {}
        }
    }
    violations
}

/// An object as found in the log or in ClickHouse.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FoundObject {
    /// Last-modified, in ms since 1970.
    pub updated_at: i64,
    /// In the recycle bin.
    pub archived: bool,
    /// Properties that are set; `None` where they were not read.
    pub properties: Option<BTreeMap<String, String>>,
}

/// Compares what was found with the portal, object by object and by digest.
pub fn same(found: &BTreeMap<i64, FoundObject>, truth: &Truth, kind: &str) -> Vec<Violation> {
    let mut violations = Vec::new();
    let violation = |rule, id: i64, detail: String| Violation {
        rule,
        object: format!("{kind}/{id}"),
        detail,
    };
    let known: HashMap<i64, &TrueObject> = truth
        .objects
        .iter()
        .map(|object| (object.id.cast_signed(), object))
        .collect();
    for object in &truth.objects {
        let id = object.id.cast_signed();
        match found.get(&id) {
            None => {
                let detail = format!("{} in HubSpot", of(object));
                violations.push(violation(Rule::Present, id, detail));
            }
            Some(held) => violations
                .extend(difference(held, object).map(|detail| violation(Rule::Same, id, detail))),
        }
    }
    let unexpected = found.iter().filter(|(id, _)| !known.contains_key(id));
    violations.extend(unexpected.map(|(id, held)| {
        let detail = format!("last-modified {}", held.updated_at);
        violation(Rule::Unexpected, *id, detail)
    }));
    let digest = digest(found).unwrap_or(truth.digest);
    if violations.is_empty() && digest != truth.digest {
        violations.push(violation(Rule::Same, 0, "the digests differ".to_owned()));
    }
    violations
}

/// The digest of what was found; `None` where properties were not read.
fn digest(found: &BTreeMap<i64, FoundObject>) -> Option<Digest> {
    let mut digest = Digest::default();
    for (id, held) in found {
        let properties = held.properties.as_ref()?;
        let pairs = properties
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        digest.add(object_hash(
            id.unsigned_abs(),
            held.updated_at,
            held.archived,
            pairs,
        ));
    }
    Some(digest)
}

fn of(object: &TrueObject) -> String {
    format!(
        "last-modified {}{}",
        object.updated_at_ms,
        if object.archived { ", archived" } else { "" }
    )
}

fn difference(held: &FoundObject, object: &TrueObject) -> Option<String> {
    if held.updated_at != object.updated_at_ms || held.archived != object.archived {
        let archived = if held.archived { ", archived" } else { "" };
        return Some(format!(
            "last-modified {}{archived}, in HubSpot {}",
            held.updated_at,
            of(object)
        ));
    }
    let properties = held.properties.as_ref()?;
    let set = |map: &BTreeMap<String, String>| -> BTreeMap<String, String> {
        map.iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    };
    let (here, there) = (set(properties), set(&object.properties));
    let names: BTreeSet<_> = here
        .keys()
        .chain(there.keys())
        .filter(|name| here.get(*name) != there.get(*name))
        .collect();
    (!names.is_empty()).then(|| format!("properties differ: {names:?}"))
}

/// The objects that a compacted reader of the log ends with, of a portal's type.
pub fn compacted(log: &RecordLog, portal_id: u64, object_type: &str) -> BTreeMap<i64, FoundObject> {
    log.last_of(portal_id, object_type)
        .into_iter()
        .filter(|(_, record)| !record.deleted)
        .map(|(id, record)| {
            let held = FoundObject {
                updated_at: comparable_time(object_type, record.updated_at),
                archived: record.archived,
                properties: Some(record.properties.clone()),
            };
            (id, held)
        })
        .collect()
}

#[cfg(test)]
mod tests;
