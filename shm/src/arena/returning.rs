//! Bytes that are on their way back: their owner has dropped the value, and other processes are about to let go of it.

use std::sync::{Condvar, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use numpush_os::GlobalMutex;

/// How long an arena without room waits for bytes that are on their way back.
const PATIENCE: Duration = Duration::from_millis(100);

/// That the bytes of a value are on their way back. Dropped, they are back, or are not expected any more.
#[derive(Debug)]
pub(crate) struct Returning(());

struct State {
    on_their_way: usize,
    /// How many have come back so far, or will not.
    ended: u64,
}

static STATE: GlobalMutex<State> = GlobalMutex::new(State {
    on_their_way: 0,
    ended: 0,
});
static ENDED: Condvar = Condvar::new();

impl Returning {
    pub(crate) fn new() -> Self {
        STATE.lock().on_their_way += 1;
        Self(())
    }
}

impl Drop for Returning {
    fn drop(&mut self) {
        let mut state = STATE.lock();
        state.on_their_way -= 1;
        state.ended += 1;
        ENDED.notify_all();
    }
}

/// Attempts to take room, again when bytes have come back that were on their way.
pub(super) fn retry<T, E>(mut attempt: impl FnMut() -> Result<T, E>) -> Result<T, E> {
    let mut result = attempt();
    if result.is_ok() {
        return result;
    }
    let until = Instant::now() + PATIENCE;
    while result.is_err() {
        let ended = STATE.lock().ended;
        // What has come back since the last attempt is not waited for.
        result = attempt();
        if result.is_ok() || !wait(ended, until) {
            break;
        }
    }
    result
}

/// Waits until more than `ended` have come back. Returns false if none will, or none has until `until`.
fn wait(ended: u64, until: Instant) -> bool {
    let mut state: MutexGuard<'_, State> = STATE.lock();
    while state.ended == ended {
        let left = until.saturating_duration_since(Instant::now());
        if state.on_their_way == 0 || left.is_zero() {
            return false;
        }
        let waited = ENDED.wait_timeout(state, left);
        (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_its_way_is_waited_for() {
        let coming = Returning::new();
        let mut coming = Some(coming);
        let mut attempts = 0;
        let taken = std::thread::scope(|scope| {
            retry(|| {
                attempts += 1;
                if attempts == 2 {
                    let coming = coming.take();
                    scope.spawn(move || drop(coming));
                }
                if attempts > 2 { Ok(()) } else { Err("full") }
            })
        });
        assert_eq!((taken, attempts), (Ok(()), 3));
    }
}
