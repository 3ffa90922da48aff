//! What this process knows of the tables: their columns, and what their readers have
//! learnt.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{layout::Layout, names::TableName, reader::TableReads};

/// How long a layout is used for reading before it is read again: another
/// process may have changed the table.
const LAYOUT_AGE: Duration = Duration::from_secs(5);

/// Layouts, and what readers have learnt, by table.
#[derive(Debug, Default)]
pub(super) struct TableCache {
    layouts: Mutex<HashMap<TableName, CachedLayout>>,
    reads: Mutex<HashMap<TableName, Arc<TableReads>>>,
}

#[derive(Debug)]
struct CachedLayout {
    layout: Arc<Layout>,
    read_at: Instant,
}

impl TableCache {
    /// The layout read last.
    pub(super) fn layout(&self, table: &TableName) -> Option<Arc<Layout>> {
        self.find(table, |_| true)
    }

    /// The layout, unless it was read too long ago.
    pub(super) fn recent_layout(&self, table: &TableName) -> Option<Arc<Layout>> {
        self.find(table, |cached| cached.read_at.elapsed() < LAYOUT_AGE)
    }

    fn find(
        &self,
        table: &TableName,
        accept: impl FnOnce(&CachedLayout) -> bool,
    ) -> Option<Arc<Layout>> {
        let layouts = self.layouts.lock().unwrap_or_else(PoisonError::into_inner);
        let cached = layouts.get(table).filter(|cached| accept(cached))?;
        Some(Arc::clone(&cached.layout))
    }

    /// Keeps a layout that was read just now.
    pub(super) fn keep(&self, table: TableName, layout: &Arc<Layout>) {
        let cached = CachedLayout {
            layout: Arc::clone(layout),
            read_at: Instant::now(),
        };
        let mut layouts = self.layouts.lock().unwrap_or_else(PoisonError::into_inner);
        layouts.insert(table, cached);
    }

    /// Forgets the layouts of the tables for which `drop` is true.
    pub(super) fn forget(&self, drop: impl Fn(&TableName) -> bool) {
        let mut layouts = self.layouts.lock().unwrap_or_else(PoisonError::into_inner);
        layouts.retain(|table, _| !drop(table));
    }

    /// What the readers of a table have learnt, for all of them.
    pub(super) fn reads(&self, table: &TableName) -> Arc<TableReads> {
        let mut reads = self.reads.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(reads.entry(table.clone()).or_default())
    }
}
