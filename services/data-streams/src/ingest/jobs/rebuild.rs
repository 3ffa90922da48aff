//! Decides which instance carries out a rebuild, and keeps its state in the store.
//!
//! Any instance can be asked for one. The store keeps its state, and the one instance
//! that leads the group carries it out.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

use super::{JobError, refill::Refill};
use crate::ingest::{
    KnownRebuild, RebuildLease, RebuildPhase, RebuildState, StoreError, conditions::WAREHOUSE,
    parts::Parts,
};

/// Time between two looks for a rebuild to carry out.
const LOOK: Duration = Duration::from_secs(1);
/// Time between two notes of an instance that it still carries a rebuild out.
const NOTE: Duration = Duration::from_secs(2);
/// Time until a rebuild that failed while it exchanged tables is begun anew.
const AGAIN: Duration = Duration::from_mins(5);
/// An instance that has noted nothing for this time has ended.
const SILENCE: Duration = Duration::from_secs(15);

/// Asks for a rebuild, unless one is asked for already; its state.
pub(crate) async fn ask(parts: &Parts, accepts_loss: bool) -> Result<RebuildState, StoreError> {
    // Makes the store's own tables where they are missing.
    parts.store.warehouse_id().await?;
    let state = RebuildState::asked_at(parts.context.clock().now_ms(), accepts_loss);
    parts.store.ask_rebuild(&state).await?;
    // The oldest one, as two instances may have asked at once. One run serves both.
    let known = parts.store.rebuilds().await?;
    let oldest = known.into_iter().rfind(KnownRebuild::is_open);
    Ok(oldest.map_or(state, |it| it.state))
}

/// Asks again for a rebuild that has ended while it exchanged tables: some of them lack
/// what was loaded meanwhile. One that goes on in another instance is left to it.
pub(crate) async fn ask_if_unfinished(parts: &Parts) -> Result<(), StoreError> {
    let known = parts.store.rebuilds().await?;
    let goes_on = known.iter().any(KnownRebuild::is_open);
    if !goes_on && parts.store.rebuild_is_unfinished().await? {
        tracing::warn!("a rebuild was interrupted while it exchanged tables; it is begun anew");
        ask(parts, false).await?;
    }
    Ok(())
}

/// Waits until the rebuild with this id has ended; the state at its end.
pub(crate) async fn ended(parts: &Parts, id: &str) -> Result<RebuildState, JobError> {
    loop {
        let known = parts.store.rebuilds().await;
        let found = known.ok().and_then(|known| {
            let mut states = known.into_iter().map(|it| it.state);
            states.find(|it| it.id == id && it.ended_at.is_some())
        });
        if let Some(state) = found {
            return Ok(state);
        }
        let pause = tokio::time::sleep(LOOK);
        let waited = parts.context.unless_draining(pause).await;
        waited.ok_or(JobError::Stopped)?;
    }
}

/// Carries out the rebuilds that any instance was asked for, where this one leads the
/// group. One whose instance has ended is begun anew.
pub(crate) struct RebuildJob {
    parts: Arc<Parts>,
    /// Names this instance among those that carry out rebuilds.
    owner: String,
}

impl RebuildJob {
    pub(crate) fn new(parts: Arc<Parts>) -> Self {
        let owner = uuid::Uuid::new_v4().to_string();
        Self { parts, owner }
    }

    /// Runs until the process stops.
    pub(crate) async fn run(self) {
        let mut again_at = Instant::now() + AGAIN;
        loop {
            let pause = tokio::time::sleep(LOOK);
            if self.parts.context.unless_draining(pause).await.is_none() {
                return;
            }
            self.take_over_warehouse().await;
            if !self.parts.leads.load(Ordering::Relaxed) {
                continue;
            }
            match self.look(again_at <= Instant::now()).await {
                Ok(true) => again_at = Instant::now() + AGAIN,
                Ok(false) => {}
                Err(error) => tracing::debug!(%error, "rebuilds cannot be looked for now"),
            }
        }
    }

    /// Carries out what is asked for. Where that is nothing and `asks_again`, asks for what
    /// is unfinished. Whether it did either.
    async fn look(&self, asks_again: bool) -> Result<bool, StoreError> {
        let claimed = self.claimed().await?;
        if !claimed.is_empty() {
            self.carry_out(claimed).await;
        } else if asks_again {
            ask_if_unfinished(&self.parts).await?;
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    /// Where another instance has filled another warehouse, loading goes on there.
    async fn take_over_warehouse(&self) {
        let failures = self.parts.context.health().failures();
        if !failures.iter().any(|(name, _)| *name == WAREHOUSE) {
            return;
        }
        let Ok(id) = self.parts.store.warehouse_id().await else {
            return;
        };
        if let Ok(known) = self.parts.store.rebuilds().await
            && known
                .first()
                .is_some_and(|it| it.state.phase == RebuildPhase::Done)
        {
            self.parts.warehouse.send_replace(id);
        }
    }

    /// The rebuilds to carry out now, which are this instance's from now on; none while
    /// another instance carries one out.
    async fn claimed(&self) -> Result<Vec<RebuildState>, StoreError> {
        let store = &self.parts.store;
        let mut open = store.rebuilds().await?;
        open.retain(KnownRebuild::is_open);
        let is_carried_out = |it: &KnownRebuild| {
            !it.owner.is_empty() && it.owner != self.owner && it.silent_for < SILENCE
        };
        if open.is_empty() || open.iter().any(is_carried_out) {
            return Ok(Vec::new());
        }
        let mut claimed = Vec::new();
        for it in open {
            let before = it.owner.as_str();
            let begun = RebuildState {
                phase: RebuildPhase::Reading,
                records: 0,
                ..it.state
            };
            store.note_rebuild(&begun, before, &self.owner).await?;
            claimed.push(begun);
        }
        let known = store.rebuilds().await?;
        let is_ours = |begun: &RebuildState| {
            let mut of_id = known.iter().filter(|it| it.state.id == begun.id);
            of_id.all(|it| it.owner == self.owner)
        };
        claimed.retain(is_ours);
        Ok(claimed)
    }

    async fn carry_out(&self, claimed: Vec<RebuildState>) {
        let accepts_loss = claimed.iter().any(|it| it.accepts_loss);
        let lease = Arc::new(RebuildLease {
            ids: claimed.into_iter().map(|it| it.id).collect(),
            owner: self.owner.clone(),
            accepts_loss,
            is_lost: AtomicBool::new(false),
        });
        let state = RebuildState::asked_at(self.parts.context.clock().now_ms(), accepts_loss);
        let progress = watch::Sender::new(state);
        let (parts, held, shown) = (
            Arc::clone(&self.parts),
            Arc::clone(&lease),
            progress.clone(),
        );
        tracing::info!(ids = ?lease.ids, "rebuild begins");
        let running = tokio::task::spawn_blocking(move || {
            Refill::new(&parts, &held, &shown).and_then(Refill::go)
        });
        tokio::pin!(running);
        let outcome = loop {
            tokio::select! {
                outcome = &mut running => break outcome.map_err(Into::into).flatten(),
                () = tokio::time::sleep(NOTE) => {
                    let state = progress.borrow().clone();
                    self.note(&lease, &state).await;
                }
            }
        };
        if self.parts.context.draining().is_cancelled() {
            // Another instance, or the next start, begins it anew.
            return;
        }
        let mut state = progress.borrow().clone();
        state.ended_at = Some(self.parts.context.clock().now_ms());
        match outcome {
            Ok(()) => {
                state.phase = RebuildPhase::Done;
                tracing::info!("warehouse rebuilt");
            }
            Err(error) => {
                state.phase = RebuildPhase::Failed;
                state.error = Some(format!("{error:#}"));
                tracing::error!(error = format!("{error:#}"), "rebuild failed");
            }
        }
        while !lease.is_lost.load(Ordering::Relaxed) && !self.note(&lease, &state).await {
            let pause = tokio::time::sleep(LOOK);
            if self.parts.context.unless_draining(pause).await.is_none() {
                return;
            }
        }
    }

    /// Notes the progress; whether that succeeded. Notices when the rebuild has become
    /// another instance's.
    async fn note(&self, lease: &RebuildLease, state: &RebuildState) -> bool {
        let store = &self.parts.store;
        let noted = async {
            let known = store.rebuilds().await?;
            for id in &lease.ids {
                let Some(it) = known.iter().find(|it| it.state.id == *id) else {
                    continue;
                };
                if it.owner != self.owner {
                    lease.is_lost.store(true, Ordering::Relaxed);
                }
                let state = RebuildState {
                    id: id.clone(),
                    started_at: it.state.started_at,
                    accepts_loss: it.state.accepts_loss,
                    ..state.clone()
                };
                store.note_rebuild(&state, &self.owner, &self.owner).await?;
            }
            Ok::<_, StoreError>(())
        };
        let noted = noted.await;
        if let Err(error) = &noted {
            tracing::debug!(%error, "the progress of a rebuild was not noted");
        }
        noted.is_ok()
    }
}
