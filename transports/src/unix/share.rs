//! How many segments of peers a process keeps: each takes a descriptor, and descriptors are few.

use std::sync::atomic::{AtomicU64, Ordering};

use numpush_os as os;

/// Segments of peers that one connection may keep. They are another's when this is dropped.
#[derive(Debug)]
pub(super) struct Share(u64);

/// Descriptors of all shares of this process.
static TAKEN: AtomicU64 = AtomicU64::new(0);

/// What connections may have together, of the descriptors that the process may have open.
const PART: u64 = 2;

/// The most that one connection takes. A sender of plain memory needs 25 for a GiB.
const MOST: u64 = 256;

/// So many it gets even when others have all there are: enough for plain memory.
const LEAST: u64 = 8;

impl Share {
    /// A share of the descriptors that are not in another one.
    pub(super) fn take() -> Self {
        let all = os::descriptor_limit().unwrap_or(0) / PART;
        let share = |taken: u64| part_of(all.saturating_sub(taken));
        let mut taken = TAKEN.load(Ordering::Relaxed);
        loop {
            let next = taken + share(taken);
            match TAKEN.compare_exchange_weak(taken, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Self(next - taken),
                Err(other) => taken = other,
            }
        }
    }

    /// How many segments.
    pub(super) fn segments(&self) -> u32 {
        u32::try_from(self.0).unwrap_or(u32::MAX)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        TAKEN.fetch_sub(self.0, Ordering::Relaxed);
    }
}

fn part_of(left: u64) -> u64 {
    (left / 4).clamp(LEAST, MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_connections_have_few_segments_each_and_none_is_left_without() {
        let mut left = 1024 / PART;
        let shares = [0; 100].map(|_| {
            let share = part_of(left);
            left = left.saturating_sub(share);
            share
        });
        assert_eq!(shares[..5], [128, 96, 72, 54, 40]);
        assert!(shares.iter().sum::<u64>() < 1024 / PART + 100 * LEAST);
        assert_eq!((part_of(0), part_of(u64::MAX)), (LEAST, MOST));
    }

    #[test]
    fn a_share_is_given_back() {
        let share = Share::take();
        assert!(u64::from(share.segments()) >= LEAST);
        let taken = TAKEN.load(Ordering::Relaxed);
        assert!(taken >= u64::from(share.segments()));
    }
}
