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

use std::pin::pin;

use futures::{FutureExt, future::FusedFuture};

use super::{
    Advice, Capability, Fetched, Search, Sink, Source, list,
    session::{Session, Stop},
};

/// Reads the definitions, the archived list, then the live one. The number of objects and
/// the highest id are found out meanwhile: they are guesses, and no record depends on them.
pub(super) async fn read<S: Source, K: Sink>(session: &mut Session<'_, S, K>) -> Result<(), Stop> {
    let (source, progress) = (session.source, session.progress);
    let object_type = session.stream.object_type.as_str();
    let has_search = session.may_use(Capability::Search);
    session.run.requests += i64::from(has_search);
    let extent = async {
        if !has_search {
            return;
        }
        match source.search(object_type, Search::HIGHEST).await {
            Ok(Fetched { value: found, .. }) => progress.send_modify(|progress| {
                progress.expected_total = Some(found.total);
                progress.highest_id = found.ids.last().copied();
            }),
            Err(error) => tracing::debug!(%error, "the number of objects is not known"),
        }
    };
    let mut extent = pin!(extent.fuse());
    let mut lists = pin!(async {
        session.begin().await?;
        read_lists(session).await
    });
    loop {
        tokio::select! {
            ended = &mut lists => return ended,
            () = &mut extent, if !extent.is_terminated() => {}
        }
    }
}

async fn read_lists<S: Source, K: Sink>(session: &mut Session<'_, S, K>) -> Result<(), Stop> {
    if session.run.list.is_none() {
        session.run.list = Some(session.begin_list(true));
    }
    if session
        .run
        .list
        .as_ref()
        .is_some_and(|position| position.archived)
    {
        read_archived_list(session).await?;
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
    read_archived_list(session).await
}

/// Reads the archived list, if the object type has one.
async fn read_archived_list<S: Source, K: Sink>(
    session: &mut Session<'_, S, K>,
) -> Result<(), Stop> {
    const LIST: Capability = Capability::ArchivedList;
    match list::read(session, true).await {
        Ok(()) => session.can_use(LIST),
        Err(Stop::Failed(error)) if error.advice == Advice::DoWithout(LIST) => {
            session.do_without(LIST, &error);
        }
        Err(stop) => return Err(stop),
    }
    Ok(())
}
