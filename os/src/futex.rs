//! Sleep on a word until another thread, of this process or another, wakes the sleepers;
//! [futex(2)](https://man7.org/linux/man-pages/man2/futex.2.html).

use std::sync::atomic::AtomicU32;
use std::time::Duration;

/// Sleeps for at most `time` while `word` is `value`. May return early.
pub fn sleep_while(word: &AtomicU32, value: u32, time: Duration) {
    let time = libc::timespec {
        tv_sec: libc::time_t::try_from(time.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: time.subsec_nanos().into(),
    };
    // SAFETY: the word and the time live as long as the call; the kernel reads both and writes neither.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT,
            value,
            &raw const time,
        )
    };
}

/// Wakes at most `most` of those who sleep on `word`. Returns how many it woke.
pub fn wake(word: &AtomicU32, most: u32) -> u32 {
    let most = i32::try_from(most).unwrap_or(i32::MAX);
    // SAFETY: the word lives as long as the call, which does not read it.
    let woken = unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, most) };
    u32::try_from(woken).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    #[test]
    fn a_sleeper_is_woken() {
        let word = AtomicU32::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while word.load(Ordering::SeqCst) == 0 {
                    sleep_while(&word, 0, Duration::from_secs(60));
                }
            });
            word.store(1, Ordering::SeqCst);
            wake(&word, u32::MAX);
        });
    }

    #[test]
    fn a_sleep_ends_by_itself() {
        let word = AtomicU32::new(0);
        sleep_while(&word, 0, Duration::from_millis(1));
        sleep_while(&word, 7, Duration::MAX);
        assert_eq!(wake(&word, 1), 0);
    }
}
