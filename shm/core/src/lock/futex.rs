//! A word that threads of several processes can sleep on; [futex(2)](https://man7.org/linux/man-pages/man2/futex.2.html).

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::atomic::AtomicU32;

/// A word in shared memory to sleep on.
#[repr(transparent)]
#[derive(Debug, Default)]
pub(crate) struct Futex(AtomicU32);

/// How often a waiter looks again before it sleeps: a short hold ends in the meantime.
pub(super) const SPINS: u32 = 64;

/// False once the kernel has refused futex_waitv(2): it is older than 5.16, or a filter forbids the call.
static CAN_WAIT_FOR_TWO: AtomicBool = AtomicBool::new(true);

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

    /// Sleeps until `until` of CLOCK_MONOTONIC at most, while this word and `other` are what they are said to be. May return
    /// early. Returns false, and has not slept, if the kernel cannot wait for two words.
    ///
    /// [futex_waitv(2)](https://docs.kernel.org/userspace-api/futex2.html)
    pub(super) fn sleep_while_both(&self, word: u32, other: (&Self, u32), until: Duration) -> bool {
        if !can_wait_for_two() {
            return false;
        }
        let waiters = [(self, word), other].map(|(futex, word)| Waiter {
            word: word.into(),
            address: futex.0.as_ptr().expose_provenance() as u64,
            flags: FUTEX_32,
            reserved: 0,
        });
        let until = kernel_time(until);
        count(Slept::Long);
        // SAFETY: the words, the waiters and the time live as long as the call; the kernel reads them and writes none.
        let result = unsafe {
            libc::syscall(
                libc::SYS_futex_waitv,
                waiters.as_ptr(),
                waiters.len(),
                0,
                &raw const until,
                libc::CLOCK_MONOTONIC,
            )
        };
        let refused = result < 0
            && !matches!(
                nix::errno::Errno::last_raw(),
                libc::EAGAIN | libc::EINTR | libc::ETIMEDOUT
            );
        if refused {
            CAN_WAIT_FOR_TWO.store(false, Ordering::Relaxed);
        }
        !refused
    }

    /// Sleeps for at most `time` while the word is `word`. May return early.
    pub(super) fn sleep_while(&self, word: u32, time: Duration) {
        let time = libc::timespec {
            tv_sec: libc::time_t::try_from(time.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: time.subsec_nanos().into(),
        };
        count(Slept::Short);
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

/// `struct futex_waitv`.
#[repr(C)]
struct Waiter {
    word: u64,
    address: u64,
    flags: u32,
    reserved: u32,
}

/// The word has 32 bits, and other processes wake who sleeps on it.
const FUTEX_32: u32 = 2;

/// `struct __kernel_timespec`: the same on every processor, unlike that of the C library.
#[repr(C)]
struct KernelTime {
    seconds: i64,
    nanos: i64,
}

const _: () = assert!(size_of::<Waiter>() == 24 && size_of::<KernelTime>() == 16);

fn kernel_time(time: Duration) -> KernelTime {
    KernelTime {
        seconds: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        nanos: time.subsec_nanos().into(),
    }
}

/// How a thread slept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slept {
    /// Until it is woken.
    Long,
    /// Until the next look.
    Short,
}

#[cfg(not(test))]
fn can_wait_for_two() -> bool {
    CAN_WAIT_FOR_TWO.load(Ordering::Relaxed)
}

#[cfg(not(test))]
fn count(_slept: Slept) {}

#[cfg(test)]
use tests::{can_wait_for_two, count};

#[cfg(test)]
pub(super) mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    thread_local! {
        static SLEEPS: RefCell<Vec<Slept>> = const { RefCell::new(Vec::new()) };
        static IS_OLD: Cell<bool> = const { Cell::new(false) };
    }

    pub(super) fn count(slept: Slept) {
        SLEEPS.with_borrow_mut(|sleeps| sleeps.push(slept));
    }

    pub(super) fn can_wait_for_two() -> bool {
        CAN_WAIT_FOR_TWO.load(Ordering::Relaxed) && !IS_OLD.get()
    }

    /// For this thread the kernel is as before 5.16.
    pub(in crate::lock) fn age_the_kernel() {
        IS_OLD.set(true);
    }

    /// True if this kernel can wait for two words.
    pub(in crate::lock) fn kernel_waits_for_two() -> bool {
        let [one, other] = [0, 0].map(|word| Futex(AtomicU32::new(word)));
        // It returns at once: the word is another one.
        one.sleep_while_both(1, (&other, 0), Duration::ZERO)
    }

    /// How this thread has slept since the last call.
    pub(in crate::lock) fn take_sleeps() -> Vec<Slept> {
        SLEEPS.take()
    }
}
