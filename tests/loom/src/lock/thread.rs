//! Each thread has one record, holds one lock at a time, and takes none twice.

use std::cell::Cell;

use crate::lock::error::LockError;
use crate::lock::identity::this_thread;
use crate::lock::place::Place;
use crate::lock::table::LockTable;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::lock) enum Mode {
    Shared,
    Part,
    Other,
}

pub(in crate::lock) enum Entered {
    New(Place),
    #[expect(dead_code, reason = "no thread here holds twice")]
    Again(Place),
}

loom::thread_local! {
    static REGISTERED: Cell<bool> = Cell::new(false);
}

pub(in crate::lock) fn enter(
    table: &LockTable,
    _lock: usize,
    _mode: Mode,
) -> Result<Entered, LockError> {
    let number = this_thread().tid as usize;
    let record = table.records.item(number);
    if !REGISTERED.with(|done| done.replace(true)) {
        assert!(record.life.try_lock().is_some(), "a record for each thread");
    }
    let number = u16::try_from(number).unwrap_or_default();
    Ok(Entered::New(Place::new(record, number, 0, 0)))
}

pub(in crate::lock) fn leave(_lock: usize, _place: Place, end: impl FnOnce()) {
    end();
}
