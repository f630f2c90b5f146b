use std::time::{Duration, Instant};

use crate::fork::GlobalMutex;
use crate::process::available_memory;

/// What was left when the kernel was last asked, less what was taken since.
#[derive(Debug)]
struct Room {
    left: u64,
    asked: Instant,
}

/// For how long an answer is believed. Other programs take memory meanwhile.
const FRESH: Duration = Duration::from_millis(100);

static ROOM: GlobalMutex<Option<Room>> = GlobalMutex::new(None);

/// True if there are `len` bytes of memory to be had, as far as is known.
///
/// The answer comes out of four files or more, so that it is asked for anew only when it is old, or when `len` is more than
/// half of what was left. A machine without /proc has room for everything.
pub(crate) fn has_room(len: u64) -> bool {
    let mut room = ROOM.lock();
    let known = room.as_mut().filter(|room| room.asked.elapsed() < FRESH);
    if let Some(known) = known
        && len <= known.left / 2
    {
        known.left -= len;
        return true;
    }
    let left = available_memory().unwrap_or(u64::MAX);
    *room = Some(Room {
        left: left.saturating_sub(len),
        asked: Instant::now(),
    });
    len <= left
}
