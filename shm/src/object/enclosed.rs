//! The values whose handles stand in some bytes: kept while the bytes travel, and at hand when they are read.
//!
//! A handle keeps nothing alive. Whoever writes handles into bytes and lets go of the values before the other side has
//! opened them sends bytes that cannot be read.

use std::cell::RefCell;
use std::sync::Arc;

use crate::object::handle::Handle;
use crate::object::raw::{Origin, RawObject};

type Values = Vec<Arc<RawObject>>;

thread_local! {
    /// What this thread has written as handles, while somebody wants to know.
    static WRITTEN: RefCell<Option<Values>> = const { RefCell::new(None) };
    /// What this thread opens without asking the owner.
    static AT_HAND: RefCell<Values> = const { RefCell::new(Vec::new()) };
}

/// Runs `write`, and returns the values that it wrote as handles.
pub(crate) fn values_written<T>(write: impl FnOnce() -> T) -> (T, Values) {
    struct Restore(Option<Values>);
    impl Drop for Restore {
        fn drop(&mut self) {
            WRITTEN.replace(self.0.take());
        }
    }

    let _before = Restore(WRITTEN.replace(Some(Vec::new())));
    let written = write();
    (written, WRITTEN.take().unwrap_or_default())
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
        if let Some(values) = written {
            values.push(Arc::clone(value));
        }
    });
}

/// The value of `handle`, if this thread has it at hand.
pub(super) fn at_hand(handle: &Handle) -> Option<Arc<RawObject>> {
    let is_meant = |value: &&Arc<RawObject>| matches!(&value.origin, Origin::Leased { handle: of, .. } if of == handle);
    AT_HAND.with_borrow(|values| values.iter().find(is_meant).cloned())
}
