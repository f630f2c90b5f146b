//! How much this process keeps open of what it has closed, because it may open it again.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::options::most_kept;

/// How much is kept open.
#[derive(Debug)]
pub(super) struct Rooms {
    values: AtomicUsize,
    bytes: AtomicUsize,
}

/// That of this process.
pub(super) static ROOMS: Rooms = Rooms::new();

/// Room for one value that is kept open. Dropped, it is free again.
#[derive(Debug)]
pub(super) struct Room {
    of: &'static Rooms,
    bytes: usize,
}

impl Rooms {
    const fn new() -> Self {
        Self {
            values: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
        }
    }

    /// Takes room for a value of `bytes`. There may be none.
    pub(super) fn take(&'static self, bytes: usize) -> Option<Room> {
        let (most_values, most_bytes) = most_kept();
        let values = self.values.fetch_add(1, Ordering::Relaxed) + 1;
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        // Dropped at once, if it is too much.
        let room = Room { of: self, bytes };
        (values <= most_values && before.saturating_add(bytes) <= most_bytes).then_some(room)
    }
}

/// True if a value of `bytes` may find room.
pub(super) fn may_fit(bytes: usize) -> bool {
    let (most_values, most_bytes) = most_kept();
    most_values > 0 && bytes <= most_bytes
}

impl Drop for Room {
    fn drop(&mut self) {
        self.of.values.fetch_sub(1, Ordering::Relaxed);
        self.of.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_ends_and_comes_back() {
        static ROOMS: Rooms = Rooms::new();
        let (most_values, most) = most_kept();
        assert!(!may_fit(most + 1) && may_fit(most));
        let all = ROOMS.take(most).unwrap();
        assert!(ROOMS.take(1).is_none());
        drop(all);
        let many: Vec<Room> = (0..most_values).map(|_| ROOMS.take(1).unwrap()).collect();
        assert!(ROOMS.take(1).is_none());
        drop(many);
        assert!(ROOMS.take(most).is_some());
    }
}
