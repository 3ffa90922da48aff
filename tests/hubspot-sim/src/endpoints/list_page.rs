//! The rows of one page of the list, and the faults that make them wrong.

use std::collections::BTreeMap;

use crate::{faults::Fault, record::Record, share::Share};

/// The rows of a page.
#[derive(Debug, Clone)]
pub(super) struct ListPage<'a> {
    pub(super) records: Vec<&'a Record>,
    /// The id of the first row of the next page, if there is one.
    pub(super) next: Option<u64>,
}

/// The list that pages are cut from.
#[derive(Debug, Clone, Copy)]
pub(super) struct List<'a> {
    pub(super) rows: &'a BTreeMap<u64, Record>,
    pub(super) limit: usize,
    /// The share of the rows that is shown; `None` is all.
    pub(super) view: Option<Share>,
}

impl<'a> List<'a> {
    /// The page that begins at an id.
    pub(super) fn page(self, start: u64) -> ListPage<'a> {
        let rows = self.rows.range(start..).map(|(_, record)| record);
        let mut rows = rows.filter(|record| self.shows(record.id));
        let mut records = Vec::with_capacity(self.limit);
        records.extend(rows.by_ref().take(self.limit));
        let next = rows.next().map(|record| record.id);
        ListPage { records, next }
    }

    fn shows(self, id: u64) -> bool {
        self.view.is_none_or(|view| view.holds(id))
    }

    /// The page as a fault makes it; `None` where the fault does not change it.
    pub(super) fn wrong(
        self,
        start: u64,
        page: &ListPage<'a>,
        fault: &Fault,
    ) -> Option<ListPage<'a>> {
        match fault {
            Fault::ListEnds { after_rows } => self.ended(*after_rows, page),
            Fault::NoPaging { holding } => {
                (page.next.is_some() && page.shows(*holding)).then(|| ListPage {
                    next: None,
                    ..page.clone()
                })
            }
            Fault::RepeatPage { holding } => {
                let repeated = self.repeated(start, page);
                repeated.filter(|repeated| repeated.shows(*holding))
            }
            _ => None,
        }
    }

    fn ended(self, after_rows: usize, page: &ListPage<'a>) -> Option<ListPage<'a>> {
        let end = *self.rows.keys().nth(after_rows)?;
        let mut records = page.records.clone();
        records.retain(|record| record.id < end);
        let cut = records.len() < page.records.len();
        (cut || page.next.is_some_and(|id| id >= end)).then_some(ListPage {
            records,
            next: None,
        })
    }

    fn repeated(self, start: u64, page: &ListPage<'a>) -> Option<ListPage<'a>> {
        let next = Some(page.records.first()?.id);
        let before = self.rows.range(..start).rev().map(|(_, record)| record);
        let shown = before.filter(|record| self.shows(record.id));
        let mut records: Vec<&Record> = shown.take(self.limit).collect();
        records.reverse();
        if records.is_empty() {
            records.clone_from(&page.records);
        }
        Some(ListPage { records, next })
    }
}

impl ListPage<'_> {
    fn shows(&self, id: Option<u64>) -> bool {
        id.is_none_or(|id| self.records.iter().any(|record| record.id == id))
    }
}
