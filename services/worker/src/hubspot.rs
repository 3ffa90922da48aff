//! HubSpot's API as a [`Source`] of pages; no other module uses that API.
//!
//! One [`HubSpot`] serves all streams of a connection, which share its rate
//! limits. It must not know of Kafka, nor what a page is read for.
//!
//! What is done about each failure of HubSpot is one table: [`error`].

mod associations;
mod auth;
mod call;
mod client;
mod clock;
mod config;
mod error;
mod failure;
mod http;
mod limits;
mod objects;
mod request_body;
mod selection;
mod sensitive;
mod transport;
mod waits;
mod wire;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use reqwest::Url;
use schemas::{AssociatedTypes, Budget, Definitions, Millis, Property, PropertySelection};

use self::{
    associations::ById,
    auth::Auth,
    call::{Call, Endpoint},
    client::Client,
    limits::Limits,
    request_body::search_body,
    selection::Selections,
    sensitive::KnownSensitive,
    transport::Transport,
    waits::Waits,
};
pub(crate) use self::{
    config::{HubSpotConfig, Limit},
    http::Http,
    transport::RequestGuard,
    waits::ConnectionWaits,
};
use crate::sync::{
    Capability, Fetched, ListPage, ListRequest, ObjectBatch, Portal, ReadError, Search, SearchPage,
    Source, SourceError,
};

/// The first dated version of the API, for accounts without the configured one.
const FALLBACK_VERSION: &str = "2026-03";
/// Late, archived and full runs start only while more than this share of the
/// daily allowance is left.
const RECHECKS_RESERVE_PERCENT: u32 = 50;

/// Parses a page of the list, for the benchmark of the parser.
#[doc(hidden)]
pub fn parse_list_page(body: &[u8]) -> Option<impl Sized> {
    wire::list_page(body).ok()
}

/// A HubSpot account, reached with one credential.
#[derive(Debug)]
pub(crate) struct HubSpot {
    client: Client,
    selections: Selections,
    sensitive: KnownSensitive,
    longest_url: usize,
}

/// Describes the metrics of this module.
pub(crate) fn describe_metrics() {
    client::describe_metrics();
    limits::describe_metrics();
}

impl HubSpot {
    /// Reads the credential and makes no request. Fails if the credential cannot be used.
    pub(crate) fn connect(
        config: &HubSpotConfig,
        http: &Http,
        credential: &str,
        guard: RequestGuard,
    ) -> Result<Self, SourceError> {
        let transport = Transport::new(config, http, guard);
        let auth = Auth::resolve(
            credential,
            config.credentials_dir.clone(),
            Arc::clone(&transport),
        )?;
        let limits = Limits::new(
            config.rate_limit,
            config.search_limit,
            config.daily_reserve_percent,
        );
        Ok(Self {
            client: Client::new(transport, limits, auth, config.api_version.clone()),
            selections: Selections::default(),
            sensitive: KnownSensitive::default(),
            longest_url: config.longest_url,
        })
    }

    /// How long its requests have waited for HubSpot's limits.
    pub(crate) fn waits(&self) -> &Arc<Waits> {
        &self.client.limits.waits
    }

    fn url(&self, segments: &[&str]) -> Url {
        self.client.transport.url(segments)
    }

    fn objects(&self, object_type: &str, rest: &[&str]) -> Url {
        let segments = [
            &["crm", "objects", self.client.version(), object_type],
            rest,
        ]
        .concat();
        self.url(&segments)
    }

    /// An answer that needs no request.
    fn without_request<T>(&self, value: T) -> Fetched<T> {
        Fetched {
            sent_at: self.now(),
            value,
        }
    }

    async fn account(&self) -> Result<Fetched<wire::Account>, SourceError> {
        loop {
            let call = self.client.account_call();
            match self.client.call(&call, wire::account).await {
                Ok(account) => return Ok(account),
                Err(failed) if failed.has_status(404) && self.client.fall_back() => {
                    tracing::warn!(
                        version = FALLBACK_VERSION,
                        "hubspot does not know the configured API version, falling back"
                    );
                }
                Err(failed) => return Err(failed.into()),
            }
        }
    }

    /// Reads the daily allowance. Only private apps may, so a failure is ignored:
    /// the headers of other answers carry limit and rest as well.
    async fn usage(&self) -> Option<wire::Usage> {
        // OAuth apps have no daily allowance, and the usage is that of private apps.
        if self.client.auth.is_oauth().await {
            return None;
        }
        let path = [
            "account-info",
            self.client.version(),
            "api-usage",
            "daily",
            "private-apps",
        ];
        let call = Call {
            attempts: 1,
            ..Call::get(Endpoint::Usage, self.url(&path))
        };
        self.client.call(&call, wire::usage).await.ok()?.value
    }
}

impl Source for HubSpot {
    fn now(&self) -> Millis {
        self.client.transport.clock.now()
    }

    fn rechecks_from(&self) -> Option<Millis> {
        let daily = &self.client.limits.daily;
        daily.reset_if_down_to(RECHECKS_RESERVE_PERCENT, self.now())
    }

    fn budget(&self) -> Option<Budget> {
        Some(self.client.limits.budget(self.now()))
    }

    fn make_way(&self) {
        self.client.limits.spread_lists();
    }

    async fn portal(&self) -> Result<Portal, SourceError> {
        let (account, usage) = futures::join!(self.account(), self.usage());
        let account = account?.value;
        let daily = &self.client.limits.daily;
        if let Some(utc_offset_ms) = account.utc_offset_ms {
            daily.set_utc_offset(utc_offset_ms);
        }
        self.client.expect_portal(account.portal_id);
        if let Some(usage) = usage {
            if let Some(resets_at) = usage.resets_at {
                daily.set_resets_at(resets_at);
            }
            if !daily.is_known(self.now()) {
                daily.observe(usage.limit, usage.limit - usage.used, self.now());
            }
        }
        Ok(Portal {
            portal_id: account.portal_id,
            now: self.now(),
        })
    }

    async fn scopes(&self) -> Option<Vec<String>> {
        self.client.scopes().await
    }

    async fn definitions(&self, object_type: &str) -> Result<Fetched<Vec<Property>>, SourceError> {
        if let Some(types) = AssociatedTypes::of(object_type) {
            return Ok(self.without_request(vec![associations::property(types)]));
        }
        let url = self.url(&["crm", "properties", self.client.version(), object_type]);
        let call = Call::get(Endpoint::Properties, url);
        Ok(self.client.call(&call, wire::properties).await?)
    }

    async fn sensitive_properties(
        &self,
        object_type: &str,
        kind: Capability,
        selection: Option<&PropertySelection>,
    ) -> Result<(Vec<Property>, i64), SourceError> {
        if AssociatedTypes::of(object_type).is_some() {
            return Ok((Vec::new(), 0));
        }
        self.read_sensitive(object_type, kind, selection).await
    }

    fn forget_sensitive(&self, object_type: &str) {
        self.sensitive.forget(object_type);
    }

    async fn list(
        &self,
        object_type: &str,
        request: ListRequest<'_>,
        properties: &Definitions,
    ) -> Result<Fetched<ListPage>, ReadError> {
        match AssociatedTypes::of(object_type) {
            None => {
                let properties = Some(properties);
                self.list_objects(object_type, request, properties).await
            }
            Some(types) => self.list_with_associations(types, request).await,
        }
    }

    async fn record_count(&self, object_type: &str) -> Result<Option<i64>, SourceError> {
        let object_type = objects_of(object_type);
        let url = self.url(&["crm", "limits", self.client.version(), "records"]);
        let call = Call {
            attempts: 3,
            ..Call::get(Endpoint::RecordCounts, url)
        };
        let parse = |body: &[u8]| wire::record_count(body, object_type);
        match self.client.call(&call, parse).await {
            Ok(count) => Ok(count.value),
            // The token may not read it, or this version of the API does not have it.
            Err(failed) if failed.is_refusal() => Ok(None),
            Err(failed) => Err(failed.into()),
        }
    }

    async fn search(
        &self,
        object_type: &str,
        search: Search,
    ) -> Result<Fetched<SearchPage>, SourceError> {
        let object_type = objects_of(object_type);
        let url = self.objects(object_type, &["search"]);
        let mut after = None;
        loop {
            let body = search_body(object_type, search, after.as_deref());
            let call = Call::post(Endpoint::Search, url.clone(), body);
            let parse = |body: &[u8]| wire::search_page(body, search.after_id);
            let found = self.client.call(&call, parse).await?;
            let wire::SearchAnswer { page, next } = found.value;
            // The caller continues from the last id of a page, which an empty
            // page does not have.
            if page.ids.is_empty() && next.is_some() && next != after {
                after = next;
                continue;
            }
            return Ok(Fetched {
                sent_at: found.sent_at,
                value: page,
            });
        }
    }

    async fn batch_read(
        &self,
        object_type: &str,
        ids: &[i64],
        archived: bool,
        properties: &Definitions,
    ) -> Result<Fetched<ObjectBatch>, ReadError> {
        if let Some(types) = AssociatedTypes::of(object_type) {
            return self
                .read_with_associations(types, ids, archived, ById::Batch)
                .await;
        }
        if ids.is_empty() {
            return Ok(self.without_request(ObjectBatch::default()));
        }
        let selection = self.selections.of(object_type, properties).await;
        let read = self.read(object_type, ids, archived, &selection).await;
        self.sensitive.doubt_after(object_type, &read);
        read
    }

    async fn read_each(
        &self,
        object_type: &str,
        ids: &[i64],
        archived: bool,
        properties: &Definitions,
    ) -> Result<Fetched<ObjectBatch>, ReadError> {
        if let Some(types) = AssociatedTypes::of(object_type) {
            return self
                .read_with_associations(types, ids, archived, ById::Each)
                .await;
        }
        let selection = self.selections.of(object_type, properties).await;
        self.read_one_by_one(object_type, ids, archived, &selection)
            .await
    }
}

/// The object type whose objects a stream reads.
fn objects_of(stream: &str) -> &str {
    AssociatedTypes::of(stream).map_or(stream, |types| types.from)
}
