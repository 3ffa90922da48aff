//! Sensitive properties: which the token may read. HubSpot lists them apart, by kind, and
//! their values need a scope for each kind.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

use schemas::{Millis, Property, PropertySelection};

use super::{
    HubSpot,
    call::{Call, Endpoint},
    request_body::{having_body, values_body},
    selection::encode,
    wire,
};
use crate::sync::{Advice, Capability, ReadError, Source as _, SourceError};

/// For how long the answer of HubSpot is used, in ms: an hour. Definitions are read at
/// each run; to read these as often would triple the requests.
const KEPT: Millis = 3_600_000;
/// With how many of the properties their scope is tested: one scope is for all of a kind,
/// and so the URL stays short.
const TESTED: usize = 50;
/// How many of them a search is for: the most groups of filters that HubSpot allows.
const SEARCHED: usize = 5;
/// How many properties a message names.
const NAMED: usize = 20;

/// What was learnt of one kind of an object type.
#[derive(Debug, Clone)]
struct Known {
    /// HubSpot's time from which on it is read again.
    until: Millis,
    properties: Vec<Property>,
    /// Whether HubSpot has given their values; false where there was none to be read.
    is_tested: bool,
}

/// The sensitive properties that can be read, by object type and kind.
#[derive(Debug, Default)]
pub(super) struct KnownSensitive {
    known: Mutex<HashMap<(String, Capability), Known>>,
}

impl KnownSensitive {
    fn lock(&self) -> MutexGuard<'_, HashMap<(String, Capability), Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What an object type has is tested again at the next read.
    pub(super) fn forget(&self, object_type: &str) {
        self.lock().retain(|(name, _), _| name != object_type);
    }

    /// A read that was refused for want of a scope may have been so because of them: they
    /// are tested again before the next one.
    pub(super) fn doubt_after<T>(&self, object_type: &str, read: &Result<T, ReadError>) {
        if read
            .as_ref()
            .is_err_and(|it| it.error.code == "missing_scope")
        {
            self.forget(object_type);
        }
    }
}

/// HubSpot's name of a kind.
const fn sensitivity(kind: Capability) -> &'static str {
    match kind {
        Capability::HighlySensitive => "highly_sensitive",
        _ => "sensitive",
    }
}

/// The scope for the values of a kind, as HubSpot documents it.
fn scope(object_type: &str, kind: Capability) -> String {
    let is_custom = object_type.starts_with("p_") || object_type.starts_with("2-");
    let name = if is_custom { "custom" } else { object_type };
    format!("crm.objects.{name}.{}.read.v2", sensitivity(kind))
}

fn has_any(given: &BTreeSet<String>, names: &[&str]) -> bool {
    names.iter().any(|name| given.contains(*name))
}

/// A token without the scope of a kind gets an answer without the values, and no refusal.
fn left_out(kind: Capability) -> SourceError {
    SourceError {
        advice: Advice::DoWithout(kind),
        code: "no_sensitive_properties",
        problem: "HubSpot leaves their values out of its answers".to_owned(),
        remedy: kind.cost().to_owned(),
    }
}

/// The refusal of a kind, with the properties and the scope by name.
fn without(
    object_type: &str,
    kind: Capability,
    properties: &[Property],
    refusal: SourceError,
) -> SourceError {
    if refusal.advice != Advice::DoWithout(kind) {
        return refusal;
    }
    let words = sensitivity(kind).replace('_', " ");
    let names: Vec<_> = properties.iter().map(|it| it.name.as_str()).collect();
    let what = match (names.as_slice(), names.get(..NAMED)) {
        ([], _) => format!("{words} properties"),
        (all, None) => format!("{words} properties {}", all.join(", ")),
        (all, Some(first)) => {
            let more = all.len() - first.len();
            format!("{words} properties {} and {more} more", first.join(", "))
        }
    };
    SourceError {
        problem: format!("the token may not read the {what}: {}", refusal.problem),
        remedy: format!(
            "give the app or key the scope {}, or none if the values are not wanted; they are \
             left out until then, and tried again at growing intervals",
            scope(object_type, kind)
        ),
        ..refusal
    }
}

impl HubSpot {
    /// Whether HubSpot knows values of properties and does not give them: its search finds
    /// an object that has one, and a read of it has none. Another object says nothing, as
    /// it may have no values. Where a request fails, they count as readable. Also how many
    /// requests that took.
    async fn leaves_out(&self, object_type: &str, names: &[&str]) -> (bool, i64) {
        let names = names.get(..SEARCHED).unwrap_or(names);
        let url = self.objects(object_type, &["search"]);
        let call = Call::post(Endpoint::Search, url, having_body(names));
        let found = self
            .client
            .call(&call, |body: &[u8]| wire::search_page(body, 0));
        let found = found.await.ok().map(|it| it.value.page.ids);
        let Some(id) = found.and_then(|ids| ids.first().copied()) else {
            return (false, 1);
        };
        let url = self.objects(object_type, &["batch", "read"]);
        let call = Call::post(Endpoint::BatchRead, url, values_body(id, names));
        let read = self.client.call(&call, wire::first_with_values).await;
        let given = read.ok().and_then(|it| it.value);
        (given.is_some_and(|it| !has_any(&it, names)), 2)
    }

    /// The properties of a kind whose values can be read, and how many requests that took.
    /// HubSpot lists properties whose values it then refuses or leaves out, so one object
    /// is read with those that `selection` has; `None` for all.
    pub(super) async fn read_sensitive(
        &self,
        object_type: &str,
        kind: Capability,
        selection: Option<&PropertySelection>,
    ) -> Result<(Vec<Property>, i64), SourceError> {
        let is_read = |it: &&Property| selection.is_none_or(|selection| selection.reads(&it.name));
        let key = (object_type.to_owned(), kind);
        let known = self.sensitive.lock().get(&key).cloned();
        let known = known.filter(|it| it.until > self.now());
        if let Some(known) =
            known.filter(|it| it.is_tested || !it.properties.iter().any(|it| is_read(&it)))
        {
            return Ok((known.properties, 0));
        }
        let mut url = self.url(&["crm", "properties", self.client.version(), object_type]);
        url.set_query(Some(&format!("dataSensitivity={}", sensitivity(kind))));
        let call = Call::get(Endpoint::Sensitive(kind), url);
        let parse = |body: &[u8]| wire::properties_of(body, sensitivity(kind));
        let listed = self.client.call(&call, parse).await;
        let listed = listed.map_err(|it| without(object_type, kind, &[], it.into()))?;
        let properties = listed.value;
        let mut requests = 1;
        let tested = properties.iter().filter(is_read).take(TESTED);
        let tested: Vec<_> = tested.map(|it| it.name.as_str()).collect();
        let mut is_tested = false;
        if !tested.is_empty() {
            let names: Vec<_> = tested.iter().map(|it| encode(it).to_string()).collect();
            let mut url = self.objects(object_type, &[]);
            url.set_query(Some(&format!("limit=1&properties={}", names.join(","))));
            let call = Call::get(Endpoint::Sensitive(kind), url);
            let read = self.client.call(&call, wire::first_with_values).await;
            let read = read.map_err(|it| without(object_type, kind, &properties, it.into()))?;
            requests += 1;
            is_tested = read.value.is_some();
            if read.value.is_some_and(|it| !has_any(&it, &tested)) {
                let (leaves_out, more) = self.leaves_out(object_type, &tested).await;
                requests += more;
                if leaves_out {
                    return Err(without(object_type, kind, &properties, left_out(kind)));
                }
            }
        }
        let known = Known {
            until: self.now().saturating_add(KEPT),
            properties: properties.clone(),
            is_tested,
        };
        self.sensitive.lock().insert(key, known);
        Ok((properties, requests))
    }
}
