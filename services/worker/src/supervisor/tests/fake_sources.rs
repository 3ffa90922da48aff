//! HubSpot accounts in memory: each stream has three records; a test says
//! which requests fail and which get no answer yet.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard},
};

use schemas::{Definitions, Millis, Property};
use tokio::{sync::watch, time::Instant};

use super::changes::Changes;
use crate::{
    ownership::PartitionLease,
    supervisor::Sources,
    sync::{
        Advice, Fetched, ListPage, ListRequest, Object, ObjectBatch, Portal, ReadError, Search,
        SearchPage, Source, SourceError,
    },
};

/// HubSpot's time when the test begins.
const START: Millis = 1_800_000_000_000;

fn property(name: &str) -> Property {
    Property {
        name: name.to_owned(),
        kind: "string".to_owned(),
        ..Property::default()
    }
}

/// A failure of the source.
pub(super) fn failure(code: &'static str, advice: Advice) -> SourceError {
    SourceError {
        advice,
        code,
        problem: format!("scripted: {code}"),
        remedy: format!("remedy of {code}"),
    }
}

#[derive(Debug, Default)]
struct Script {
    /// Accounts by credential; every other credential has its own account.
    accounts: HashMap<String, Result<i64, SourceError>>,
    failing_streams: HashMap<String, SourceError>,
    /// Properties that every account defines besides `email`.
    properties: Vec<Property>,
    /// Requests that began: the credential, and the stream or `account`.
    requests: Vec<(String, String)>,
}

#[derive(Debug, Clone)]
pub(super) struct FakeSources {
    script: Arc<Mutex<Script>>,
    /// Streams, and `account` for the account, whose requests get no answer.
    held: Arc<watch::Sender<HashSet<String>>>,
    changes: Changes,
    origin: Instant,
}

impl FakeSources {
    pub(super) fn new(changes: Changes) -> Self {
        Self {
            script: Arc::default(),
            held: Arc::new(watch::channel(HashSet::new()).0),
            changes,
            origin: Instant::now(),
        }
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap()
    }

    /// What a credential leads to from now on.
    pub(super) fn set_account(&self, credential: &str, account: Result<i64, SourceError>) {
        self.script()
            .accounts
            .insert(credential.to_owned(), account);
    }

    /// All requests for a stream fail from now on.
    pub(super) fn fail_stream(&self, stream: &str, error: SourceError) {
        self.script()
            .failing_streams
            .insert(stream.to_owned(), error);
    }

    /// Requests for a stream are answered again.
    pub(super) fn mend_stream(&self, stream: &str) {
        self.script().failing_streams.remove(stream);
    }

    /// Every account defines this property too from now on.
    pub(super) fn define_property(&self, name: &str) {
        self.script().properties.push(property(name));
    }

    /// The same, with values that are ids of contacts.
    pub(super) fn define_reference(&self, name: &str) {
        self.script().properties.push(Property {
            referenced_object_type: Some("contacts".to_owned()),
            ..property(name)
        });
    }

    /// Requests for a stream, or for the `account`, wait for their answer.
    pub(super) fn hold(&self, what: &str) {
        self.held.send_modify(|held| {
            held.insert(what.to_owned());
        });
    }

    /// They get it.
    pub(super) fn release(&self) {
        self.held.send_modify(HashSet::clear);
    }

    /// How many requests for a stream, or for the `account`, began.
    pub(super) fn requests(&self, what: &str) -> usize {
        let script = self.script();
        script.requests.iter().filter(|it| it.1 == what).count()
    }

    /// How many requests with a credential began.
    pub(super) fn requests_with(&self, credential: &str) -> usize {
        let script = self.script();
        script
            .requests
            .iter()
            .filter(|it| it.0 == credential)
            .count()
    }
}

impl Sources for FakeSources {
    type Source = FakeSource;

    async fn connect(
        &self,
        _connection: &str,
        credential: &str,
        lease: PartitionLease,
    ) -> Result<FakeSource, SourceError> {
        Ok(FakeSource {
            sources: self.clone(),
            credential: credential.to_owned(),
            lease,
        })
    }
}

#[derive(Debug)]
pub(super) struct FakeSource {
    sources: FakeSources,
    credential: String,
    lease: PartitionLease,
}

impl FakeSource {
    async fn answer<T>(&self, what: &str, value: T) -> Result<Fetched<T>, SourceError> {
        assert!(self.lease.is_valid(), "a request without a lease");
        let sent_at = self.now();
        let began = (self.credential.clone(), what.to_owned());
        self.sources.script().requests.push(began);
        let _open = self.sources.changes.request();
        let mut held = self.sources.held.subscribe();
        held.wait_for(|held| !held.contains(what)).await.unwrap();
        match self.sources.script().failing_streams.get(what) {
            Some(error) => Err(error.clone()),
            None => Ok(Fetched { sent_at, value }),
        }
    }
}

impl Source for FakeSource {
    fn now(&self) -> Millis {
        START + Millis::try_from(self.sources.origin.elapsed().as_millis()).unwrap()
    }

    async fn portal(&self) -> Result<Portal, SourceError> {
        self.answer("account", ()).await?;
        let own = self.credential.bytes().map(i64::from).sum();
        let script = self.sources.script();
        let account = script.accounts.get(&self.credential).cloned();
        Ok(Portal {
            portal_id: account.unwrap_or(Ok(own))?,
            now: self.now(),
        })
    }

    async fn definitions(&self, object_type: &str) -> Result<Fetched<Vec<Property>>, SourceError> {
        let mut properties = vec![property("email")];
        properties.extend(self.sources.script().properties.iter().cloned());
        self.answer(object_type, properties).await
    }

    async fn list(
        &self,
        object_type: &str,
        request: ListRequest<'_>,
        _properties: &Definitions,
    ) -> Result<Fetched<ListPage>, ReadError> {
        let object = |id| Object {
            id,
            created_at: START,
            updated_at: START,
            ..Object::default()
        };
        let page = ListPage {
            objects: (1..=if request.archived { 0 } else { 3 })
                .map(object)
                .collect(),
            next: None,
        };
        Ok(self.answer(object_type, page).await?)
    }

    async fn record_count(&self, object_type: &str) -> Result<Option<i64>, SourceError> {
        Ok(self.answer(object_type, None).await?.value)
    }

    async fn search(
        &self,
        object_type: &str,
        _search: Search,
    ) -> Result<Fetched<SearchPage>, SourceError> {
        self.answer(object_type, SearchPage::default()).await
    }

    async fn read_each(
        &self,
        object_type: &str,
        ids: &[i64],
        archived: bool,
        properties: &Definitions,
    ) -> Result<Fetched<ObjectBatch>, ReadError> {
        self.batch_read(object_type, ids, archived, properties)
            .await
    }

    async fn batch_read(
        &self,
        object_type: &str,
        ids: &[i64],
        _archived: bool,
        _properties: &Definitions,
    ) -> Result<Fetched<ObjectBatch>, ReadError> {
        let missing = ids.to_vec();
        let answer = ObjectBatch {
            objects: Vec::new(),
            missing,
        };
        Ok(self.answer(object_type, answer).await?)
    }
}
