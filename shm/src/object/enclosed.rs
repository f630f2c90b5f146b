//! The values whose handles stand in some bytes: kept while the bytes travel, and at hand when they are read.
//!
//! A handle keeps nothing alive. Whoever writes handles into bytes and lets go of the values before the other side has
//! opened them sends bytes that cannot be read.

use std::cell::RefCell;
use std::sync::Arc;

use numpush_shm_core::PartId;

use crate::object::handle::Handle;
use crate::object::raw::{Origin, RawObject};

type Values = Vec<Arc<RawObject>>;

/// The parts that stand in the arguments of a task.
#[derive(Clone, Debug, Default)]
pub(crate) struct EnclosedParts(Vec<(Arc<RawObject>, PartId)>);

impl EnclosedParts {
    /// Says that the task has failed: nobody should wait for its parts.
    pub(crate) fn give_up(&self) {
        for (value, part) in &self.0 {
            value.lock().give_up_part(*part);
        }
    }
}

thread_local! {
    /// What this thread has written as handles, while somebody wants to know.
    static WRITTEN: RefCell<Option<(Values, EnclosedParts)>> = const { RefCell::new(None) };
    /// What this thread opens without asking the owner.
    static AT_HAND: RefCell<Values> = const { RefCell::new(Vec::new()) };
}

/// Runs `write`, and returns the values that it wrote as handles, and the parts of values.
pub(crate) fn values_written<T>(write: impl FnOnce() -> T) -> (T, Values, EnclosedParts) {
    struct Restore(Option<(Values, EnclosedParts)>);
    impl Drop for Restore {
        fn drop(&mut self) {
            WRITTEN.replace(self.0.take());
        }
    }

    let _before = Restore(WRITTEN.replace(Some(Default::default())));
    let written = write();
    let (values, parts) = WRITTEN.take().unwrap_or_default();
    (written, values, parts)
}

/// Runs `read`, which finds `values` open, also if their owner has ended since.
pub(crate) fn with_values<T>(values: Values, read: impl FnOnce() -> T) -> T {
    struct Restore(Values);
    impl Drop for Restore {
        fn drop(&mut self) {
            AT_HAND.replace(std::mem::take(&mut self.0));
        }
    }

    if values.is_empty() {
        return read();
    }
    let _before = Restore(AT_HAND.replace(values));
    read()
}

/// Notes that `value` is written as its handle.
pub(super) fn note(value: &Arc<RawObject>) {
    WRITTEN.with_borrow_mut(|written| {
        if let Some((values, _)) = written {
            values.push(Arc::clone(value));
        }
    });
}

/// Notes that part `part` of `value` is written.
pub(super) fn note_part(value: &Arc<RawObject>, part: PartId) {
    note(value);
    WRITTEN.with_borrow_mut(|written| {
        if let Some((_, parts)) = written {
            parts.0.push((Arc::clone(value), part));
        }
    });
}

/// The value of `handle`, if this thread has it at hand.
pub(super) fn at_hand(handle: &Handle) -> Option<Arc<RawObject>> {
    let is_meant = |value: &&Arc<RawObject>| matches!(&value.origin, Origin::Leased { handle: of, .. } if of == handle);
    AT_HAND.with_borrow(|values| values.iter().find(is_meant).cloned())
}
