//! Passes over the lists: both lists for a backfill or a full pass, or only the
//! archived one.
//!
//! The two lists cannot be read at the same moment, so an object that moves from
//! one to the other meanwhile can be missed. The archived list is read first: an
//! object restored meanwhile appears in the live list, or stays archived in the
//! log until the next pass. An object archived meanwhile can be missed by both
//! reads; it seems to be gone then, and is read by its id before it is deleted.
//! Only a new object that is archived and restored within one pass can still be
//! missed, until its next change or the next pass.

use super::{
    Sink, Source, list,
    session::{Session, Stop},
};
use crate::sync::Search;

/// Reads the archived list, then the live one.
pub(super) async fn read<S: Source, K: Sink>(session: &mut Session<'_, S, K>) -> Result<(), Stop> {
    let all = Search {
        from: 0,
        to: None,
        after_id: 0,
    };
    let found = session
        .source
        .search(&session.stream.object_type, all)
        .await?;
    session.run.requests += 1;
    session.expect_total(found.value.total);

    if session.run.list.is_none() {
        session.run.list = Some(session.begin_list(true));
    }
    if session
        .run
        .list
        .as_ref()
        .is_some_and(|position| position.archived)
    {
        list::read(session, true).await?;
        if let Some(position) = &mut session.run.list {
            position.archived = false;
            position.lanes.clear();
        }
    }
    list::read(session, false).await?;
    session.confirm_definitions().await
}

/// Reads the archived list.
pub(super) async fn read_archived<S: Source, K: Sink>(
    session: &mut Session<'_, S, K>,
) -> Result<(), Stop> {
    if session.run.list.is_none() {
        session.run.list = Some(session.begin_list(true));
    }
    list::read(session, true).await
}
