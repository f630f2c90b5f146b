//! Regions whose memory comes as their bytes do.

use std::sync::Arc;

use numpush_message::{AllocError, Buffer, BufferMut};
use numpush_shm_core::{GrowingPages, HUGE_PAGE, PageOptions, forks};

use super::allocation::{Allocation, Reservation};
use super::growth::refused;
use super::returning;
use super::state::Inner;

/// Regions up to this length have all their memory at once: each longer one that grows is a descriptor of its own.
pub(super) const AT_ONCE: usize = 16 << 20;

/// A region is at most so far ahead of its bytes. fallocate(2) takes 2 ms for it.
const MOST_AHEAD: usize = 16 << 20;

/// A region for which a peer has claimed a length, on its way to be a buffer.
pub(super) struct GrowingBuffer {
    claim: Claim,
    /// Bytes that were asked for: the pages are rounded up.
    len: usize,
    pages: GrowingPages,
}

/// What an arena knows of a region that grows. Dropped, its bytes are the arena's again.
struct Claim {
    arena: Arc<Inner>,
    number: u64,
}

impl GrowingBuffer {
    /// A region that is to have `len` bytes, in pages for `size`. It has none yet.
    pub(super) fn new(
        arena: &Arc<Inner>,
        len: usize,
        size: usize,
        options: PageOptions,
    ) -> Result<Self, AllocError> {
        let pages = GrowingPages::new(size, options).map_err(|error| refused(len, &error))?;
        let claim = Claim {
            arena: Arc::clone(arena),
            number: arena.state().claim(size),
        };
        Ok(Self { claim, len, pages })
    }
}

impl BufferMut for GrowingBuffer {
    fn ensure(&mut self, len: usize) -> Result<(), AllocError> {
        let (ready, size) = (self.pages.ready(), self.pages.len());
        let len = len.min(self.len);
        if len <= ready {
            return Ok(());
        }
        // Twice as much as has come: so a peer's bytes cost about what they are.
        let ahead = ready.clamp(HUGE_PAGE, MOST_AHEAD);
        let wanted = len.max(ready + ahead).next_multiple_of(HUGE_PAGE);
        let wanted = wanted.min(size);
        let (arena, number) = (&self.claim.arena, self.claim.number);
        returning::retry(|| arena.grant(number, wanted))?;
        self.pages.grow(wanted).map_err(|error| {
            arena.state().set_held(number, ready);
            refused(wanted - ready, &error)
        })
    }

    fn as_mut_slice(&mut self) -> &mut [u8] {
        let bytes = self.pages.bytes_mut();
        let len = bytes.len().min(self.len);
        &mut bytes[..len]
    }

    /// # Panics
    /// If `ensure` was not called for all bytes.
    #[expect(clippy::expect_used, reason = "documented")]
    fn freeze(self: Box<Self>) -> Buffer<'static> {
        let Self { claim, len, pages } = *self;
        let pages = pages.finish().ok();
        let pages = pages.expect("a region is frozen when all its bytes are there");
        let claimed = pages.take_exclusive(0..len);
        let home = Reservation {
            arena: Arc::clone(&claim.arena),
            range: claim.arena.state().finish_claim(claim.number, &pages, len),
            pages,
            forks: forks(),
        };
        let claimed = claimed.expect("new memory has no users");
        let home = Arc::new(home);
        Buffer::from_owner(Allocation { claimed, home })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.arena.state().end_claim(self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Arena;
    use numpush_message::BufferAllocator as _;

    const MIB: usize = 1 << 20;

    /// Bytes that the system has given to the memory of a region.
    fn given(region: &GrowingBuffer) -> usize {
        let given = region.pages.allocated().unwrap();
        assert_eq!(given, region.pages.ready() as u64);
        region.pages.ready()
    }

    #[test]
    fn a_claim_costs_nothing_before_bytes_come() {
        let mut arena = Arena::new(2 << 30);
        let claims: Vec<_> = (0..3).map(|_| arena.claim(1 << 30).unwrap()).collect();
        assert_eq!((arena.usage().used, arena.usage().reserved), (0, 0));
        drop(claims);
        let options = PageOptions::default();
        let mut region = GrowingBuffer::new(&arena.inner, 1 << 30, 1 << 30, options).unwrap();
        let mut most_ahead = 0;
        for came in (0..80 * MIB).step_by(MIB / 2) {
            region.ensure(came + 1).unwrap();
            assert!(region.as_mut_slice().len() > came);
            most_ahead = most_ahead.max(given(&region) - came);
        }
        assert_eq!(most_ahead, 16 * MIB);
        assert_eq!(arena.usage().reserved, region.pages.ready());
        drop(region);
        assert_eq!((arena.usage().used, arena.usage().reserved), (0, 0));
    }

    #[test]
    fn a_region_that_is_whole_is_memory_like_any_other() {
        let mut arena = Arena::new(1 << 30);
        let len = 20 * MIB + 77;
        let mut region = arena.claim(len).unwrap();
        region.ensure(3).unwrap();
        region.as_mut_slice()[..3].copy_from_slice(b"abc");
        region.ensure(len).unwrap();
        assert_eq!(region.as_mut_slice().len(), len);
        region.as_mut_slice()[len - 1] = b'z';
        let buffer = region.freeze();
        let address = buffer.as_ptr();
        assert_eq!((&buffer[..3], buffer[len - 1]), (&b"abc"[..], b'z'));
        assert_eq!(arena.usage().used, 20 * MIB + 128);
        assert!(arena.adopt(buffer.clone()).is_ok(), "its own memory");
        drop(buffer);
        assert_eq!((arena.usage().used, arena.usage().chunks), (0, 1));
        let mut warm = arena.claim(len).unwrap();
        assert_eq!(warm.as_mut_slice().as_ptr(), address);
    }

    #[test]
    fn regions_do_not_wait_for_one_another_half_full() {
        let mut arena = Arena::new(60 * MIB);
        let mut claim = || arena.claim(32 * MIB).unwrap();
        let (mut first, mut second) = (claim(), claim());
        first.ensure(1).unwrap();
        second.ensure(1).unwrap();
        let mut grown = [2 * MIB; 2];
        // Each takes a MiB in turn, as far as it is let.
        for step in 3..=32 {
            for (region, grown) in [&mut first, &mut second].into_iter().zip(&mut grown) {
                match region.ensure(step * MIB) {
                    Ok(()) => *grown = step * MIB,
                    Err(error) => assert!(!error.is_permanent(), "{error}"),
                }
            }
        }
        assert_eq!(grown.iter().max(), Some(&(32 * MIB)), "one is whole");
        let (whole, mut other) = if grown[0] > grown[1] {
            (first, second)
        } else {
            (second, first)
        };
        let whole = whole.freeze();
        let error = other.ensure(32 * MIB).unwrap_err();
        assert!(matches!(error, AllocError::Budget { budget, .. } if budget == 60 * MIB));
        drop(whole);
        other.ensure(32 * MIB).unwrap();
        assert_eq!(other.freeze().len(), 32 * MIB);
    }

    #[test]
    fn what_never_fits_is_another_error_than_what_does_not_fit_now() {
        let mut arena = Arena::new(40 * MIB);
        let _value = arena.allocate(30 * MIB).unwrap();
        for (len, is_permanent) in [(20 * MIB, false), (41 * MIB, true), (usize::MAX, true)] {
            let error = match arena.claim(len) {
                Ok(mut region) => region.ensure(1).unwrap_err(),
                Err(error) => error,
            };
            assert_eq!(error.is_permanent(), is_permanent, "{error}");
            assert!(error.to_string().contains(&(40 * MIB).to_string()));
        }
        let error = arena.allocate(41 * MIB).err();
        assert!(error.is_some_and(|error| error.is_permanent()));
    }
}
