//! Streams of associations: the objects of the first type, each with what it is associated
//! with in place of its properties.
//!
//! So all that finds, orders and proves changes of objects does it for associations too.
//! HubSpot changes no time when an association comes or goes: one is found when its object
//! is read, for a change of its own or by a pass.

use std::collections::HashMap;

use schemas::{
    ASSOCIATIONS, AssociatedTypes, Association, Property, PropertyMapBuilder, associations,
};

use super::{
    HubSpot,
    call::{Call, Endpoint},
    objects::ids,
    request_body::associations_body,
    selection::Selection,
    wire,
};
use crate::sync::{Fetched, ListPage, ListRequest, Object, ObjectBatch, ReadError};

/// How the objects of the first type are read by id.
pub(super) enum ById {
    /// All in one request.
    Batch,
    /// Each in one of its own.
    Each,
}

/// The one property of a stream of associations.
pub(super) fn property(types: AssociatedTypes<'_>) -> Property {
    Property {
        name: ASSOCIATIONS.to_owned(),
        kind: "json".to_owned(),
        label: "Associations".to_owned(),
        description: format!(
            "What the object of {} is associated with of {}: a JSON array of id, category, \
             type_id and label",
            types.from, types.to
        ),
        ..Property::default()
    }
}

impl HubSpot {
    /// Reads a page of the live list. The list of archived objects is empty: HubSpot does not
    /// keep their associations.
    pub(super) async fn list_with_associations(
        &self,
        types: AssociatedTypes<'_>,
        request: ListRequest<'_>,
    ) -> Result<Fetched<ListPage>, ReadError> {
        if request.archived {
            return Ok(self.without_request(ListPage::default()));
        }
        let mut listed = self.list_objects(types.from, request, None).await?;
        if !request.ids_only {
            self.add_associations(types, &mut listed.value.objects)
                .await?;
        }
        Ok(listed)
    }

    /// Reads objects by id. Archived ones count as missing.
    pub(super) async fn read_with_associations(
        &self,
        types: AssociatedTypes<'_>,
        ids: &[i64],
        archived: bool,
        by: ById,
    ) -> Result<Fetched<ObjectBatch>, ReadError> {
        if archived || ids.is_empty() {
            return Ok(self.without_request(ObjectBatch {
                missing: ids.to_vec(),
                ..ObjectBatch::default()
            }));
        }
        let none = Selection::none();
        let mut read = match by {
            ById::Batch => self.read(types.from, ids, false, &none).await?,
            ById::Each => self.read_one_by_one(types.from, ids, false, &none).await?,
        };
        self.add_associations(types, &mut read.value.objects)
            .await?;
        Ok(read)
    }

    /// Replaces the properties of objects by what they are associated with.
    async fn add_associations(
        &self,
        types: AssociatedTypes<'_>,
        objects: &mut [Object],
    ) -> Result<(), ReadError> {
        let mut found = self.associations(types, &ids(objects)).await?;
        let mut properties = PropertyMapBuilder::default();
        for object in objects {
            // An object without any is not in the answer.
            let associated = found.remove(&object.id).unwrap_or_default();
            properties.push(ASSOCIATIONS, &associations::to_json(associated));
            object.properties = properties.finish();
            object.merged_ids.clear();
        }
        Ok(())
    }

    /// Reads what objects are associated with, to its end: HubSpot answers with pages of 500
    /// for each object.
    async fn associations(
        &self,
        types: AssociatedTypes<'_>,
        ids: &[i64],
    ) -> Result<HashMap<i64, Vec<Association>>, ReadError> {
        let AssociatedTypes { from, to } = types;
        let version = self.client.version();
        let url = self.url(&["crm", "associations", version, from, to, "batch", "read"]);
        let mut found: HashMap<i64, Vec<Association>> = HashMap::with_capacity(ids.len());
        let mut pending: Vec<_> = ids.iter().map(|id| (*id, String::new())).collect();
        while !pending.is_empty() {
            let body = associations_body(&pending);
            let call = Call::post(Endpoint::Associations, url.clone(), body);
            let page = self.client.call(&call, wire::associations).await?.value;
            for (id, more) in page.found {
                found.entry(id).or_default().extend(more);
            }
            // A cursor that does not move would be followed for ever.
            let asked = std::mem::replace(&mut pending, page.more);
            pending.retain(|it| !asked.contains(it));
        }
        Ok(found)
    }
}
