//! Threads stand for processes. None forks.

use std::cell::Cell;

/// A thread, by a number of ours.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity {
    pub(crate) pid: u32,
    pub(crate) tid: u32,
}

loom::thread_local! {
    static SELF: Cell<u32> = Cell::new(0);
}

/// Numbers this thread. Each number has a thread record of its own.
pub(crate) fn become_process(number: u32) {
    SELF.with(|me| me.set(number));
}

pub(crate) fn this_thread() -> Identity {
    let number = SELF.with(Cell::get);
    Identity {
        pid: number,
        tid: number,
    }
}

pub(crate) fn forks() -> u32 {
    0
}
