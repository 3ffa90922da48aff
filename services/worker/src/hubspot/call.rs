//! What is asked of HubSpot.
//!
//! It must not know how a request is sent or answered.

use bytes::Bytes;
use reqwest::Url;

use super::limits::Bucket;

/// A request is given up for now after this many attempts.
const ATTEMPTS: u32 = 8;

/// What is asked for, in general.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// The account behind the token.
    Account,
    /// What it has used of the day's allowance.
    Usage,
    /// An access token.
    Token,
    /// Property definitions.
    Properties,
    /// The list.
    List,
    /// Search.
    Search,
    /// Reading by id.
    BatchRead,
}

/// A request, to be sent as often as it takes.
#[derive(Debug, Clone)]
pub(super) struct Call {
    /// What is asked for.
    pub(super) endpoint: Endpoint,
    /// Where.
    pub(super) url: Url,
    /// JSON, for a POST.
    pub(super) body: Option<Bytes>,
    /// Attempts at most.
    pub(super) attempts: u32,
}

impl Endpoint {
    /// The limit that it counts against.
    pub(super) const fn bucket(self) -> Bucket {
        match self {
            Self::Search => Bucket::Search,
            Self::Account
            | Self::Usage
            | Self::Token
            | Self::Properties
            | Self::List
            | Self::BatchRead => Bucket::General,
        }
    }

    /// Its name in metrics and messages.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Usage => "usage",
            Self::Token => "token",
            Self::Properties => "properties",
            Self::List => "list",
            Self::Search => "search",
            Self::BatchRead => "batch_read",
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
