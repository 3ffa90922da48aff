//! Requests for objects: a page of the list, in two ways, and reads by id.

use std::collections::{HashMap, HashSet};

use futures::{StreamExt, TryStreamExt, stream};
use schemas::Definitions;

use super::{
    HubSpot,
    call::{Call, Endpoint},
    request_body::read_body,
    selection::{Selection, encode, last_modified},
    wire,
};
use crate::sync::{
    Advice, Capability, Fetched, ListPage, ListRequest, Object, ObjectBatch, ReadError,
};

/// Reads of single objects in flight at once, where a type has no batch read.
const READS_AT_ONCE: usize = 8;

/// The page of a list to request.
struct PageQuery<'a> {
    /// Which list, as far as it can be refused.
    endpoint: Endpoint,
    /// Whose objects.
    object_type: &'a str,
    /// Which of the two lists.
    archived: bool,
    /// The query without the properties.
    query: String,
}

impl HubSpot {
    /// Reads a page of a list, with all these properties, or with ids and times alone.
    pub(super) async fn list_objects(
        &self,
        object_type: &str,
        request: ListRequest<'_>,
        properties: Option<&Definitions>,
    ) -> Result<Fetched<ListPage>, ReadError> {
        let ListRequest {
            archived,
            after,
            limit,
            ids_only,
        } = request;
        let mut query = format!("limit={limit}&archived={archived}");
        if let Some(after) = after {
            query.push_str("&after=");
            query.extend(encode(after));
        }
        let endpoint = if archived && after.is_none() {
            Endpoint::FirstArchivedPage
        } else {
            Endpoint::List
        };
        let page = PageQuery {
            endpoint,
            object_type,
            archived,
            query,
        };
        let Some(properties) = properties.filter(|_| !ids_only) else {
            return self.list_ids(&page).await;
        };
        let selection = self.selections.of(object_type, properties).await;
        let listed = match self.list_whole(&page, &selection).await {
            Ok(None) => self.list_ids_then_read(&page, &selection).await,
            Ok(Some(page)) => Ok(page),
            Err(failed) => Err(failed),
        };
        self.sensitive.doubt_after(object_type, &listed);
        listed
    }

    /// Reads a page with the names of all properties in the URL. `None` if the
    /// URL would be too long, by `longest_url` or by HubSpot's status 414.
    async fn list_whole(
        &self,
        page: &PageQuery<'_>,
        selection: &Selection,
    ) -> Result<Option<Fetched<ListPage>>, ReadError> {
        let PageQuery {
            endpoint, query, ..
        } = page;
        let mut url = self.objects(page.object_type, &[]);
        if url.as_str().len() + query.len() + selection.query.len() + 12 > self.longest_url {
            return Ok(None);
        }
        url.set_query(Some(&format!("{query}&properties={}", selection.query)));
        match self
            .client
            .call(&Call::get(*endpoint, url), wire::list_page)
            .await
        {
            Ok(page) => Ok(Some(page)),
            Err(failed) if failed.has_status(414) => Ok(None),
            Err(failed) => Err(failed.into()),
        }
    }

    /// Reads a page of ids and times.
    async fn list_ids(&self, page: &PageQuery<'_>) -> Result<Fetched<ListPage>, ReadError> {
        let mut url = self.objects(page.object_type, &[]);
        url.set_query(Some(&format!(
            "{}&properties={}",
            page.query,
            last_modified(page.object_type)
        )));
        let call = Call::get(page.endpoint, url);
        Ok(self.client.call(&call, wire::list_page).await?)
    }

    /// Reads ids by the list, then properties by a batch read, which has no long
    /// URL. An object that disappears between the two is left out; it has just
    /// changed, so the next incremental run reads it. So is one that was not listed, as
    /// the winner of a merge: the list has it at its own place.
    async fn list_ids_then_read(
        &self,
        page: &PageQuery<'_>,
        selection: &Selection,
    ) -> Result<Fetched<ListPage>, ReadError> {
        let &PageQuery {
            object_type,
            archived,
            ..
        } = page;
        let listed = self.list_ids(page).await?;
        let ids = ids(&listed.value.objects);
        if ids.is_empty() {
            return Ok(listed);
        }
        let read = match self.read(object_type, &ids, archived, selection).await {
            Err(failed) if failed.error.advice == Advice::DoWithout(Capability::BatchRead) => {
                self.read_one_by_one(object_type, &ids, archived, selection)
                    .await?
            }
            read => read?,
        };
        // The answer has no promised order, the list's pages have.
        let mut found: HashMap<i64, Object> = read
            .value
            .objects
            .into_iter()
            .map(|object| (object.id, object))
            .collect();
        Ok(Fetched {
            sent_at: read.sent_at,
            value: ListPage {
                objects: ids.iter().filter_map(|id| found.remove(id)).collect(),
                next: listed.value.next,
            },
        })
    }

    /// Reads objects by id with a request for each.
    pub(super) async fn read_one_by_one(
        &self,
        object_type: &str,
        ids: &[i64],
        archived: bool,
        selection: &Selection,
    ) -> Result<Fetched<ObjectBatch>, ReadError> {
        let read = ids.iter().copied().map(|id| async move {
            let mut url = self.objects(object_type, &[&id.to_string()]);
            let query = format!("archived={archived}&properties={}", selection.query);
            url.set_query(Some(&query));
            let call = Call::get(Endpoint::Read, url);
            match self.client.call(&call, |body| wire::one(body, id)).await {
                Ok(read) => Ok(Some(read)),
                Err(failed) if failed.is_not_found() => Ok(None),
                Err(failed) => Err(ReadError::from(failed)),
            }
        });
        let mut all = self.without_request(ObjectBatch::default());
        let mut answers = stream::iter(read).buffered(READS_AT_ONCE);
        while let Some(answer) = answers.try_next().await? {
            if let Some(read) = answer {
                all.value.objects.extend(read.value.objects);
            }
        }
        let found: HashSet<i64> = all.value.objects.iter().map(|it| it.id).collect();
        // A winner of a merge may be the answer for several ids.
        let mut seen = HashSet::new();
        all.value.objects.retain(|it| seen.insert(it.id));
        all.value.missing = ids
            .iter()
            .copied()
            .filter(|it| !found.contains(it))
            .collect();
        Ok(all)
    }

    /// Reads objects by id.
    pub(super) async fn read(
        &self,
        object_type: &str,
        ids: &[i64],
        archived: bool,
        selection: &Selection,
    ) -> Result<Fetched<ObjectBatch>, ReadError> {
        let mut url = self.objects(object_type, &["batch", "read"]);
        url.set_query(Some(if archived {
            "archived=true"
        } else {
            "archived=false"
        }));
        let call = Call::post(Endpoint::BatchRead, url, read_body(ids, selection));
        Ok(self
            .client
            .call(&call, |body| wire::batch(body, ids))
            .await?)
    }
}

/// The ids of these objects, in their order.
pub(super) fn ids(objects: &[Object]) -> Vec<i64> {
    objects.iter().map(|object| object.id).collect()
}
