//! A word that threads of several processes can sleep on; [futex(2)](https://man7.org/linux/man-pages/man2/futex.2.html).

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::atomic::AtomicU32;

/// A word in shared memory to sleep on.
#[repr(transparent)]
#[derive(Debug, Default)]
pub(crate) struct Futex(AtomicU32);

/// How often a waiter looks again before it sleeps: a short hold ends in the meantime.
pub(super) const SPINS: u32 = 64;

impl Futex {
    #[inline]
    pub(super) fn load(&self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }

    #[inline]
    pub(super) fn swap(&self, word: u32) -> u32 {
        self.0.swap(word, Ordering::SeqCst)
    }

    /// Replaces `from` by `to`; false if the word is another one.
    pub(super) fn replace(&self, from: u32, to: u32) -> bool {
        self.0
            .compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok()
    }

    /// Sleeps for at most `time` while the word is `word`. May return early.
    pub(super) fn sleep_while(&self, word: u32, time: Duration) {
        let time = libc::timespec {
            tv_sec: libc::time_t::try_from(time.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: time.subsec_nanos().into(),
        };
        // SAFETY: the word and the time live as long as the call; the kernel reads both and writes neither.
        unsafe {
            libc::syscall(
                libc::SYS_futex,
                self.0.as_ptr(),
                libc::FUTEX_WAIT,
                word,
                &raw const time,
            )
        };
    }

    /// Wakes everybody who sleeps on it.
    #[cold]
    pub(super) fn wake(&self) {
        // SAFETY: the word lives as long as the call, which does not read it.
        unsafe { libc::syscall(libc::SYS_futex, self.0.as_ptr(), libc::FUTEX_WAKE, i32::MAX) };
    }
}
