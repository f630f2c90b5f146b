//! SIGPIPE, which ends a process that has not asked to ignore it; [pipe(7)](https://man7.org/linux/man-pages/man7/pipe.7.html).
//!
//! Rust and Python programs ignore it. A program in C need not, and a library must not end it: send(2) has MSG_NOSIGNAL,
//! sendfile(2) has nothing.

use std::mem::MaybeUninit;
use std::ptr;

use nix::sys::signal::{SigSet, SigmaskHow, Signal};

/// Calls `write`, and takes back the SIGPIPE that it raises in this thread.
pub(crate) fn without_sigpipe<T>(write: impl FnOnce() -> T) -> T {
    let was_pending = is_pending();
    let mut pipe = SigSet::empty();
    pipe.add(Signal::SIGPIPE);
    let Ok(before) = pipe.thread_swap_mask(SigmaskHow::SIG_BLOCK) else {
        return write();
    };
    let result = write();
    // One that was there before is the program's.
    if !was_pending && is_pending() {
        let now = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: both pointers are to values of this function; no information about the signal is asked for.
        unsafe { libc::sigtimedwait(pipe.as_ref(), ptr::null_mut(), &raw const now) };
    }
    let _ = before.thread_set_mask();
    result
}

/// True if SIGPIPE waits for this thread.
fn is_pending() -> bool {
    let mut pending = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the pointer is to a set of this function.
    if unsafe { libc::sigpending(pending.as_mut_ptr()) } != 0 {
        return false;
    }
    // SAFETY: the kernel has filled it.
    let pending = unsafe { pending.assume_init() };
    // SAFETY: a set from the kernel is a set.
    unsafe { SigSet::from_sigset_t_unchecked(pending) }.contains(Signal::SIGPIPE)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use nix::sys::signal::{SigHandler, Signal, signal};
    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::{ForkResult, fork};

    #[test]
    fn a_peer_that_is_gone_does_not_end_a_program_that_ignores_no_signal() {
        let memory = crate::Memfd::new(4096).unwrap();
        let (memory, _mapping) = memory.seal().unwrap();
        let (near, far) = UnixStream::pair().unwrap();
        drop(far);
        // SAFETY: the child calls only what is safe after a fork of a process with threads, and leaves by _exit.
        let child = match unsafe { fork() }.unwrap() {
            ForkResult::Child => {
                // SAFETY: the default action runs no code of ours.
                let is_set = unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) }.is_ok();
                let sent = crate::send_file(&near, &*memory, 0, 4096);
                let is_broken =
                    sent.is_err_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe);
                let is_well = is_set && is_broken && !super::is_pending();
                // SAFETY: it does not return.
                unsafe { libc::_exit(i32::from(!is_well)) }
            }
            ForkResult::Parent { child } => child,
        };
        let status = waitpid(child, None).unwrap();
        assert_eq!(status, WaitStatus::Exited(child, 0));
    }
}
