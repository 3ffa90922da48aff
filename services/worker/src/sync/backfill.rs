//! Passes over the lists: both, as a backfill and a full pass do, or the
//! archived one alone.
//!
//! Both lists cannot be read at one moment, so an object that changes sides in
//! between can be missed. The archived list is read first: what is restored
//! meanwhile shows up in the live list, or stays archived in the log until the
//! next pass, but is not missed. What is archived meanwhile can be in neither
//! read; for that, one more run over the archived list closes the pass before
//! anything it did not see is called gone. Only an object that is archived and
//! restored within one pass can still slip through; its next change or pass
//! brings it back.
//!
//! It must not know how one list is read.

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
