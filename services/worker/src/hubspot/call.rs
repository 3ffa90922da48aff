//! A request to HubSpot: endpoint, URL, body and attempts.

use std::fmt;

use bytes::Bytes;
use reqwest::Url;

use super::limits::Bucket;
use crate::sync::Capability;

/// Attempts at a request before the run waits and starts it again later.
const ATTEMPTS: u32 = 8;

/// The kinds of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// Account details.
    Account,
    /// The account's use of its daily allowance.
    Usage,
    /// An access token.
    Token,
    /// What HubSpot says of a token.
    TokenInfo,
    /// Property definitions.
    Properties,
    /// The definitions of a sensitive kind, and the test whether its values can be read.
    Sensitive(Capability),
    /// The list, but for the first page of archived objects.
    List,
    /// The first page of the list of archived objects, which not every type has.
    FirstArchivedPage,
    /// Search.
    Search,
    /// Batch read by id.
    BatchRead,
    /// Read of one object by its id.
    Read,
    /// How many records of each type the account has.
    RecordCounts,
    /// What objects are associated with.
    Associations,
}

/// A request, which may be sent several times.
#[derive(Clone)]
pub(super) struct Call {
    /// Its kind.
    pub(super) endpoint: Endpoint,
    /// The address, with the query.
    pub(super) url: Url,
    /// The JSON of a POST; a GET has none. May hold a token.
    pub(super) body: Option<Bytes>,
    /// The number of attempts allowed.
    pub(super) attempts: u32,
}

impl Endpoint {
    /// The rate limit that it counts against.
    pub(super) const fn bucket(self) -> Bucket {
        match self {
            Self::Search => Bucket::Search,
            Self::List | Self::FirstArchivedPage => Bucket::Lists,
            Self::Associations => Bucket::Associations,
            Self::Account
            | Self::Usage
            | Self::Token
            | Self::TokenInfo
            | Self::Properties
            | Self::Sensitive(_)
            | Self::BatchRead
            | Self::Read
            | Self::RecordCounts => Bucket::General,
        }
    }

    /// Its name in metrics and messages.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Usage => "usage",
            Self::Token => "token",
            Self::TokenInfo => "token_info",
            Self::Properties => "properties",
            Self::Sensitive(_) => "sensitive_properties",
            Self::List | Self::FirstArchivedPage => "list",
            Self::Search => "search",
            Self::BatchRead => "batch_read",
            Self::Read => "read",
            Self::RecordCounts => "record_counts",
            Self::Associations => "associations",
        }
    }
}

impl Call {
    /// A GET.
    pub(super) fn get(endpoint: Endpoint, url: Url) -> Self {
        Self {
            endpoint,
            url,
            body: None,
            attempts: ATTEMPTS,
        }
    }

    /// A POST of JSON.
    pub(super) fn post(endpoint: Endpoint, url: Url, body: impl Into<Bytes>) -> Self {
        Self {
            endpoint,
            url,
            body: Some(body.into()),
            attempts: ATTEMPTS,
        }
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("endpoint", &self.endpoint)
            .field("url", &self.url.as_str())
            .finish_non_exhaustive()
    }
}
