//! A lock that is never unmapped.

use super::mapped::Mapped;
use super::raw::RawLock;
use super::record::ThreadRecord;
use super::robust::Robust;
use super::table::LockTable;
use super::words::{DivisionWords, Head, Seen, State, WorkWords};

#[derive(Clone, Copy, Debug)]
pub(crate) struct RobustRwLock {
    table: LockTable,
    raw: RawLock,
}

impl RobustRwLock {
    /// A new lock, for threads numbered from 0 to 3.
    pub(crate) fn new() -> Self {
        let head: &'static Head = Box::leak(Box::new(Head {
            writer: Robust::default(),
            state: State::default(),
            division: DivisionWords::default(),
            seen: Seen::default(),
            work: WorkWords::default(),
        }));
        let record = |_| ThreadRecord {
            life: Robust::default(),
            holds: Default::default(),
        };
        let records: &'static [ThreadRecord] = Box::leak((0..4).map(record).collect());
        let raw = RawLock {
            head: Mapped(head),
            records: Mapped(records),
            index: 0,
            generation: head.begin(),
        };
        let table = LockTable {
            records: raw.records,
        };
        Self { table, raw }
    }

    pub(crate) fn raw(&self) -> &RawLock {
        &self.raw
    }

    pub(crate) fn table(&self) -> &LockTable {
        &self.table
    }
}
