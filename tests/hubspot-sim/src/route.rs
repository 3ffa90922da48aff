//! Parses method and path of a request.

use hyper::Method;
use serde::{Deserialize, Serialize};

use crate::{json, limits::Bucket};

/// Versions in paths; `v3` and `v4` are the old form.
const VERSIONS: [&str; 4] = ["2026-09", "2026-03", "v3", "v4"];

/// Kind of a request, for counters and faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A page of the list of live objects.
    List,
    /// A page of the list of archived objects.
    ListArchived,
    /// A search.
    Search,
    /// A batch read, of live or archived objects.
    BatchRead,
    /// One object.
    Read,
    /// Property definitions.
    Properties,
    /// Account details.
    Details,
    /// The day's use of the API.
    Usage,
    /// A token.
    OAuth,
    /// What HubSpot says of a token.
    TokenInfo,
    /// Associations.
    Associations,
    /// Owners.
    Owners,
    /// Schemas of custom objects.
    Schemas,
    /// Pipelines.
    Pipelines,
    /// Number of records of each object type.
    RecordLimits,
    /// Anything else.
    Unknown,
}

/// A parsed request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) kind: Kind,
    /// The object type in the path, or empty.
    pub(crate) object_type: String,
    /// The id of one object, or the second type of an association.
    pub(crate) detail: String,
}

impl Route {
    /// Parses a request.
    pub(crate) fn of(method: &Method, path: &str, query: &str) -> Self {
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let (post, archived) = (method == Method::POST, asks_archived(query));
        let found = match *parts.as_slice() {
            // Dated paths have the version after the resource, old ones before it.
            ["crm", "objects", version, ref rest @ ..] if known(version) => {
                objects(rest, post, archived)
            }
            ["crm", version, "objects", ref rest @ ..] if known(version) => {
                objects(rest, post, archived)
            }
            ["crm", "properties", version, name] | ["crm", version, "properties", name]
                if known(version) && !post =>
            {
                Some((Kind::Properties, name, ""))
            }
            ["crm", "associations", version, from, to, "batch", "read"]
            | ["crm", version, "associations", from, to, "batch", "read"]
                if known(version) && post =>
            {
                Some((Kind::Associations, from, to))
            }
            ["crm", "owners", version] | ["crm", version, "owners"] if known(version) => {
                Some((Kind::Owners, "", ""))
            }
            ["crm", "pipelines", version, name] | ["crm", version, "pipelines", name]
                if known(version) =>
            {
                Some((Kind::Pipelines, name, ""))
            }
            ["crm-object-schemas", version, "schemas"] if known(version) => {
                Some((Kind::Schemas, "", ""))
            }
            ["crm", version, "schemas"] if known(version) => Some((Kind::Schemas, "", "")),
            ["crm", "limits", version, "records"] | ["crm", version, "limits", "records"]
                if known(version) && !post =>
            {
                Some((Kind::RecordLimits, "", ""))
            }
            ["account-info", version, "details"] if known(version) => Some((Kind::Details, "", "")),
            [
                "account-info",
                version,
                "api-usage",
                "daily",
                "private-apps",
            ] if known(version) => Some((Kind::Usage, "", "")),
            ["oauth", _, "token"] if post => Some((Kind::OAuth, "", "")),
            ["oauth", "v2", "private-apps", "get", "access-token-info"] if post => {
                Some((Kind::TokenInfo, "", ""))
            }
            _ => None,
        };
        let (kind, object_type, detail) = found.unwrap_or((Kind::Unknown, "", ""));
        Self {
            kind,
            object_type: object_type.to_owned(),
            detail: detail.to_owned(),
        }
    }

    /// The rate limit that counts it.
    pub(crate) fn bucket(&self) -> Bucket {
        match self.kind {
            Kind::Search => Bucket::Search,
            Kind::Associations => Bucket::Associations,
            Kind::OAuth | Kind::TokenInfo => Bucket::Free,
            _ => Bucket::General,
        }
    }
}

/// Whether a query string requests archived objects. Python's SDK writes
/// `True`.
pub(crate) fn asks_archived(query: &str) -> bool {
    json::pairs(query).any(|(name, value)| name == "archived" && value.eq_ignore_ascii_case("true"))
}

fn known(version: &str) -> bool {
    VERSIONS.contains(&version)
}

fn objects<'a>(rest: &[&'a str], post: bool, archived: bool) -> Option<(Kind, &'a str, &'a str)> {
    match (rest, post) {
        (&[name], false) if archived => Some((Kind::ListArchived, name, "")),
        (&[name], false) => Some((Kind::List, name, "")),
        (&[name, "search"], true) => Some((Kind::Search, name, "")),
        (&[name, "batch", "read"], true) => Some((Kind::BatchRead, name, "")),
        (&[name, id], false) => Some((Kind::Read, name, id)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dated_and_old_paths_have_the_same_route() {
        for path in [
            "/crm/objects/2026-09/contacts/search",
            "/crm/v3/objects/contacts/search",
        ] {
            let route = Route::of(&Method::POST, path, "");
            assert_eq!(
                (route.kind, route.object_type.as_str()),
                (Kind::Search, "contacts")
            );
        }
        let route = Route::of(&Method::GET, "/crm/objects/2026-03/0-1", "archived=true");
        assert_eq!(
            (route.kind, route.object_type.as_str()),
            (Kind::ListArchived, "0-1")
        );
    }

    #[test]
    fn an_unknown_version_is_refused() {
        assert_eq!(
            Route::of(&Method::GET, "/crm/objects/2027-01/contacts", "").kind,
            Kind::Unknown
        );
    }
}
