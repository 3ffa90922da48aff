//! The portal's answers.

use std::collections::BTreeMap;

use schemas::{Definitions, Millis, Property, PropertyMapBuilder};

use super::{
    super::super::{
        Fetched, ListPage, ListRequest, Object, ObjectBatch, Portal, ReadError, Search, SearchPage,
        Source, SourceError,
    },
    FakeObject, FakePortal, READ_TIME_PROPERTY, property_name,
};

pub(super) fn read(id: i64, entry: &FakeObject, names: &[String]) -> Object {
    let mut properties = PropertyMapBuilder::default();
    for name in names {
        properties.push(name, &entry.value.to_string());
    }
    let object = Object {
        id,
        created_at: entry.created,
        updated_at: entry.updated,
        archived: entry.archived,
        ..Object::default()
    };
    Object {
        merged_ids: entry.merged_ids.clone(),
        properties: properties.finish(),
        ..object
    }
}

fn names(definitions: &Definitions) -> Vec<String> {
    definitions
        .properties
        .iter()
        .map(|property| property.name.clone())
        .collect()
}

/// The answer, unless the portal failed on the request.
fn unfailed<T>(answer: Fetched<Result<T, ReadError>>) -> Result<Fetched<T>, ReadError> {
    let Fetched { sent_at, value } = answer;
    value.map(|value| Fetched { sent_at, value })
}

impl Source for FakePortal {
    fn now(&self) -> Millis {
        self.state().now
    }

    fn rechecks_from(&self) -> Option<Millis> {
        let state = self.state();
        let spent = state.share.filter(|(calls, _)| state.calls >= *calls);
        spent.map(|(_, until)| until)
    }

    async fn portal(&self) -> Result<Portal, SourceError> {
        Ok(Portal {
            portal_id: 7,
            now: self.now(),
        })
    }

    async fn definitions(&self, _: &str) -> Result<Fetched<Vec<Property>>, SourceError> {
        let property = |number| {
            let name = property_name(number);
            let field_type = if name == READ_TIME_PROPERTY {
                "calculation_read_time"
            } else {
                ""
            };
            Property {
                name,
                field_type: field_type.to_owned(),
                ..Property::default()
            }
        };
        self.answer(|_, state| (0..state.properties).map(property).collect())
            .await
    }

    async fn list(
        &self,
        _: &str,
        request: ListRequest<'_>,
        properties: &Definitions,
    ) -> Result<Fetched<ListPage>, ReadError> {
        let ListRequest {
            archived,
            after,
            limit,
            ids_only,
        } = request;
        let from: i64 = match after.map(|after| after.trim_start_matches('x').parse()) {
            Some(Ok(from)) => from,
            Some(Err(error)) => panic!("cursor: {error}"),
            None => 0,
        };
        let names = if ids_only {
            Vec::new()
        } else {
            names(properties)
        };
        let page = self.answer(|portal, state| {
            let mut rest = state
                .objects
                .range(from..)
                .filter(|(_, o)| o.archived == archived);
            let objects: Vec<_> = rest
                .by_ref()
                .take(portal.page_size.min(limit))
                .map(|(id, o)| read(*id, o, &names))
                .collect();
            let ids = objects.iter().map(|object| object.id);
            state.faults.check(ids, ids_only, state.now)?;
            let next = rest.next().map(|(id, _)| {
                if portal.opaque {
                    format!("x{id}")
                } else {
                    id.to_string()
                }
            });
            Ok(ListPage { objects, next })
        });
        unfailed(page.await?)
    }

    async fn record_count(&self, _: &str) -> Result<Option<i64>, SourceError> {
        let count =
            self.answer(|_, state| state.objects.values().filter(|it| !it.archived).count());
        Ok(i64::try_from(count.await?.value).ok())
    }

    async fn search(&self, _: &str, search: Search) -> Result<Fetched<SearchPage>, SourceError> {
        self.answer(|portal, state| {
            let shown = |entries: &[(Millis, Option<Millis>)]| {
                entries
                    .iter()
                    .rev()
                    .find(|(from, _)| *from <= state.now)
                    .and_then(|(_, at)| *at)
            };
            let mut ids: Vec<i64> = state
                .index
                .range(search.after_id + 1..)
                .filter(|(_, entries)| {
                    shown(entries)
                        .is_some_and(|at| at >= search.from && search.to.is_none_or(|to| at < to))
                })
                .map(|(id, _)| *id)
                .collect();
            let total = i64::try_from(ids.len()).unwrap();
            let more = ids.len() > portal.search_size;
            if search.highest {
                ids.reverse();
            }
            let size = if search.highest {
                1
            } else {
                portal.search_size
            };
            ids.truncate(size);
            SearchPage { ids, total, more }
        })
        .await
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
        _: &str,
        ids: &[i64],
        archived: bool,
        properties: &Definitions,
    ) -> Result<Fetched<ObjectBatch>, ReadError> {
        assert!(ids.len() <= 100);
        let names = names(properties);
        let batch = self.answer(|_, state| {
            let mut found = BTreeMap::new();
            for id in ids {
                let mut id = *id;
                while let Some(winner) = state.merged.get(&id) {
                    id = *winner;
                }
                if let Some(entry) = state.objects.get(&id).filter(|o| o.archived == archived) {
                    found.insert(id, read(id, entry, &names));
                }
            }
            let missing = ids
                .iter()
                .copied()
                .filter(|id| !found.contains_key(id))
                .collect();
            state
                .faults
                .check(found.keys().copied(), false, state.now)?;
            Ok(ObjectBatch {
                objects: found.into_values().rev().collect(),
                missing,
            })
        });
        unfailed(batch.await?)
    }
}
