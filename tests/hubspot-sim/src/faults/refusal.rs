//! How HubSpot refuses what a type or a token does not have.

use serde::{Deserialize, Serialize};

use super::Asked;
use crate::{answer::Answer, route::Kind, state::singular};

/// What HubSpot refuses, and with which words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// 403: the permission to see the schema is missing, as for an OAuth app.
    NoPermission,
    /// 403: the token does not have proper permissions.
    ImproperToken,
    /// 403 of category `FORBIDDEN`, which names one scope.
    Forbidden,
    /// 400: the type has no list of archived objects.
    NoArchivedList,
    /// 404: the type has no search.
    NoSearch,
    /// 404: the type has no batch read.
    NoBatchRead,
    /// 400: the type does not exist.
    UnknownType,
}

impl Refusal {
    /// Whether a request of that kind can be refused so.
    pub(super) fn suits(self, kind: Kind) -> bool {
        match self {
            Self::NoArchivedList => kind == Kind::ListArchived,
            Self::NoSearch => kind == Kind::Search,
            Self::NoBatchRead => kind == Kind::BatchRead,
            Self::NoPermission | Self::ImproperToken | Self::Forbidden | Self::UnknownType => true,
        }
    }

    /// The answer. `category` replaces the usual one, if there is one.
    pub(super) fn answer(self, asked: Asked<'_>, category: Option<&str>) -> Answer {
        let name = asked.object_type;
        let (status, usual, message) = match self {
            Self::NoPermission => (
                403,
                None,
                format!(
                    "You do not have permissions to view_schema object type \
                     ObjectTypeId{{legacyObjectType={}}} in portal {} \
                     (requires one of [{name}-read])",
                    singular(name).to_uppercase(),
                    asked.portal_id
                ),
            ),
            Self::ImproperToken => (
                403,
                None,
                "This oauth-token (demo) does not have proper permissions!".to_owned(),
            ),
            Self::Forbidden => (
                403,
                Some("FORBIDDEN"),
                format!(
                    "EXTERNAL auth request is missing required 'crm.objects.{name}.read' scope."
                ),
            ),
            Self::NoArchivedList => (
                400,
                None,
                "Paging through deleted objects is not yet supported".to_owned(),
            ),
            Self::NoSearch | Self::NoBatchRead => return Answer::no_such_path(),
            Self::UnknownType => return Answer::no_such_type(name),
        };
        Answer::refused(status, category.or(usual), &message)
    }
}
