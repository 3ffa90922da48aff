//! Requests for objects: a page of the list, in two ways, and reads by id.

use super::{
    HubSpot,
    call::{Call, Endpoint},
    request_body::read_body,
    selection::{Selection, last_modified},
    wire,
};
use crate::sync::{Fetched, ListPage, Object, ObjectBatch, ReadError};

impl HubSpot {
    /// Reads a page with the names of all properties in the URL. `None` if the
    /// URL would be too long, by `longest_url` or by HubSpot's status 414.
    pub(super) async fn list_whole(
        &self,
        object_type: &str,
        query: &str,
        selection: &Selection,
    ) -> Result<Option<Fetched<ListPage>>, ReadError> {
        let mut url = self.objects(object_type, &[]);
        if url.as_str().len() + query.len() + selection.query.len() + 12 > self.longest_url {
            return Ok(None);
        }
        url.set_query(Some(&format!("{query}&properties={}", selection.query)));
        match self
            .client
            .call(&Call::get(Endpoint::List, url), wire::list_page)
            .await
        {
            Ok(page) => Ok(Some(page)),
            Err(failed) if failed.has_status(414) => Ok(None),
            Err(failed) => Err(failed.into()),
        }
    }

    /// Reads a page of ids and times.
    pub(super) async fn list_ids(
        &self,
        object_type: &str,
        query: &str,
    ) -> Result<Fetched<ListPage>, ReadError> {
        let mut url = self.objects(object_type, &[]);
        url.set_query(Some(&format!(
            "{query}&properties={}",
            last_modified(object_type)
        )));
        let call = Call::get(Endpoint::List, url);
        Ok(self.client.call(&call, wire::list_page).await?)
    }

    /// Reads ids by the list, then properties by a batch read, which has no long
    /// URL. An object that disappears between the two is left out; it has just
    /// changed, so the next incremental run reads it.
    pub(super) async fn list_ids_then_read(
        &self,
        object_type: &str,
        archived: bool,
        query: &str,
        selection: &Selection,
    ) -> Result<Fetched<ListPage>, ReadError> {
        let listed = self.list_ids(object_type, query).await?;
        let ids = ids(&listed.value.objects);
        if ids.is_empty() {
            return Ok(listed);
        }
        let read = self.read(object_type, &ids, archived, selection).await?;
        Ok(Fetched {
            sent_at: read.sent_at,
            value: ListPage {
                objects: read.value.objects,
                next: listed.value.next,
            },
        })
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
