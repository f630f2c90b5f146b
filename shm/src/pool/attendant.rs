//! A thread that does the work of a pool while nobody waits for a result.
//!
//! Calls that wait do the work themselves, so most pools never have this thread. But a task that was submitted while all
//! workers were busy would begin only when its caller comes to wait for it, and one with a timeout would run on. The thread
//! ends when no submitted task needs it, and costs nothing after that.

use std::sync::Arc;

use crate::pool::dispatcher::{Dispatcher, State};

/// Starts the thread, if tasks need it and there is none.
pub(super) fn attend(dispatcher: &Arc<Dispatcher>) {
    if !dispatcher.is_ours() {
        return;
    }
    let mut state = dispatcher.state();
    if state.attended || !needs_attention(&state) {
        return;
    }
    let attended = Arc::clone(dispatcher);
    let work = move || {
        let done = |state: &mut State| {
            state.attended = !state.closed && needs_attention(state);
            (!state.attended).then_some(())
        };
        attended.wait(&Arc::default(), None, done);
    };
    // Without the thread the tasks begin when somebody waits.
    let thread = std::thread::Builder::new().name("numpush-pool".into());
    state.attended = thread.stack_size(256 << 10).spawn(work).is_ok();
}

/// True if a task waits, or runs against the clock.
fn needs_attention(state: &State) -> bool {
    state.queue.has_waiting()
        || state
            .workers
            .all()
            .any(|worker| worker.deadline().is_some())
}
