//! How much this process keeps open of what it has closed, because it may open it again.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// How long a closed value is kept open, and a connection without values is kept.
pub(super) const AGE: Duration = Duration::from_secs(1);
/// Most values that are kept open.
const MOST_VALUES: usize = 64;
/// Most bytes of the values that are kept open.
const MOST_BYTES: usize = 1 << 30;

static VALUES: AtomicUsize = AtomicUsize::new(0);
static BYTES: AtomicUsize = AtomicUsize::new(0);

/// Room for one value that is kept open. Dropped, it is free again.
#[derive(Debug)]
pub(super) struct Room {
    bytes: usize,
}

impl Room {
    /// Takes room for a value of `bytes`. There may be none.
    pub(super) fn take(bytes: usize) -> Option<Self> {
        let values = VALUES.fetch_add(1, Ordering::Relaxed) + 1;
        let sum = BYTES
            .fetch_add(bytes, Ordering::Relaxed)
            .saturating_add(bytes);
        let room = Self { bytes };
        (values <= MOST_VALUES && sum <= MOST_BYTES).then_some(room)
    }

    /// True if a value of `bytes` may find room.
    pub(super) fn may_take(bytes: usize) -> bool {
        bytes <= MOST_BYTES
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        VALUES.fetch_sub(1, Ordering::Relaxed);
        BYTES.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_ends_and_comes_back() {
        let most = MOST_BYTES;
        assert!(!Room::may_take(most + 1) && Room::may_take(most));
        let all = Room::take(most).unwrap();
        assert!(Room::take(1).is_none());
        drop(all);
        let many: Vec<Room> = (0..MOST_VALUES).map(|_| Room::take(1).unwrap()).collect();
        assert!(Room::take(1).is_none());
        drop(many);
        assert!(Room::take(most).is_some());
    }
}
