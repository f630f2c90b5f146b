//! A forked child whose system calls its parent sees one by one, and decides about: [ptrace(2)](https://man7.org/linux/man-pages/man2/ptrace.2.html).
//!
//! It is the kernel that stops the child, so every call is met: of the library, of the standard library and of libc, in every
//! thread. The parent must fork and trace in one thread, and wait for no other child of its own meanwhile.

use std::collections::BTreeSet;

use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill, raise};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, chdir, setpgid};

use crate::{Forked, not_run};

/// What is to become of a call that the child is about to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is made.
    Go,
    /// The process is killed before it.
    Kill,
    /// It is not made, and fails with this errno.
    Fail(i32),
}

/// How a traced child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With this exit code.
    Exited(i32),
    /// By this signal.
    Killed(Signal),
}

/// A forked child that is traced from the moment at which it calls [`trace_me`].
#[derive(Debug)]
pub struct Traced(Pid);

/// In a child of [`Traced::start`]: from here on the parent sees every call. It goes on when the parent follows it.
pub fn trace_me() {
    ptrace::traceme().unwrap();
    raise(Signal::SIGSTOP).unwrap();
}

/// True if a process may trace its children on this machine, and let their calls fail if `fails`; otherwise reports that a
/// test did not run.
pub fn can_trace(fails: bool) -> bool {
    let child = Traced::start(|| {
        ptrace::traceme().is_ok() && raise(Signal::SIGSTOP).is_ok() && chdir(".").is_err() == fails
    });
    let mut calls = 0;
    let ended = child.try_follow(|number| {
        calls += 1;
        match name(number) {
            "chdir" if fails => Verdict::Fail(libc::EIO),
            _ => Verdict::Go,
        }
    });
    let can = ended == Ok(Ended::Exited(0)) && calls > 0;
    if !can {
        not_run(&format!(
            "ptrace(2) is not allowed here, or cannot do this on this machine: {ended:?} after {calls} calls"
        ));
    }
    can
}

impl Traced {
    /// Forks. The child exits with 0 if `work` returns true, and leads a group of processes of its own.
    pub fn start(work: impl FnOnce() -> bool) -> Self {
        let child = Forked::start(|| {
            setpgid(Pid::from_raw(0), Pid::from_raw(0)).unwrap();
            work()
        });
        // Whoever is faster: nobody may wait for a group that is not there yet.
        let _ = setpgid(child.id(), child.id());
        Self(child.id())
    }

    /// Its process id.
    pub fn id(&self) -> Pid {
        self.0
    }

    /// Asks `decide` before each call of each thread of the child, which stands still as long as `decide` takes, until the
    /// child ends.
    ///
    /// # Panics
    ///
    /// If the kernel does not let this thread trace it.
    pub fn follow(self, decide: impl FnMut(i64) -> Verdict) -> Ended {
        self.try_follow(decide).unwrap()
    }

    fn try_follow(self, mut decide: impl FnMut(i64) -> Verdict) -> nix::Result<Ended> {
        let mut threads = Threads::default();
        loop {
            // Its group is what no other child of this thread is in.
            let group = Pid::from_raw(-self.0.as_raw());
            match waitpid(group, Some(WaitPidFlag::__WALL)) {
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
                Ok(WaitStatus::Exited(pid, code)) if pid == self.0 => {
                    return Ok(Ended::Exited(code));
                }
                Ok(WaitStatus::Signaled(pid, signal, _)) if pid == self.0 => {
                    return Ok(Ended::Killed(signal));
                }
                Ok(status) => threads.go_on(self.0, status, &mut decide)?,
            }
        }
    }
}

/// The threads of a traced process.
#[derive(Default)]
struct Threads {
    known: BTreeSet<Pid>,
    /// Those that are in a call: their next stop is its end.
    calling: BTreeSet<Pid>,
    /// Those whose call fails, and how.
    failing: Vec<(Pid, i32)>,
}

impl Threads {
    /// Lets a stopped thread go on.
    fn go_on(
        &mut self,
        process: Pid,
        status: WaitStatus,
        decide: &mut impl FnMut(i64) -> Verdict,
    ) -> nix::Result<()> {
        let (thread, signal) = match status {
            WaitStatus::PtraceSyscall(thread) => {
                self.at_call(process, thread, decide)?;
                (thread, None)
            }
            WaitStatus::Stopped(thread, Signal::SIGSTOP) if self.known.insert(thread) => {
                if thread == process {
                    ptrace::setoptions(thread, options())?;
                }
                (thread, None)
            }
            WaitStatus::Stopped(thread, signal) => (thread, Some(signal)),
            WaitStatus::PtraceEvent(thread, ..) => (thread, None),
            _ => return Ok(()),
        };
        match ptrace::syscall(thread, signal) {
            // It was killed meanwhile.
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    fn at_call(
        &mut self,
        process: Pid,
        thread: Pid,
        decide: &mut impl FnMut(i64) -> Verdict,
    ) -> nix::Result<()> {
        if self.calling.remove(&thread) {
            if let Some(at) = self
                .failing
                .iter()
                .position(|(failing, _)| *failing == thread)
            {
                let (_, errno) = self.failing.swap_remove(at);
                return registers::set_result(thread, errno);
            }
            return Ok(());
        }
        self.calling.insert(thread);
        let Ok(number) = registers::number(thread) else {
            return Ok(());
        };
        match decide(number) {
            Verdict::Go => Ok(()),
            Verdict::Kill => kill(process, Signal::SIGKILL),
            Verdict::Fail(errno) => {
                self.failing.push((thread, errno));
                registers::skip(thread)
            }
        }
    }
}

fn options() -> Options {
    Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_TRACECLONE | Options::PTRACE_O_EXITKILL
}

/// The call that a stopped thread makes.
#[cfg(target_arch = "x86_64")]
mod registers {
    use nix::sys::ptrace::{getregs, setregs};
    use nix::unistd::Pid;

    pub(super) fn number(thread: Pid) -> nix::Result<i64> {
        Ok(getregs(thread)?.orig_rax.cast_signed())
    }

    /// Lets the kernel make no call at all.
    pub(super) fn skip(thread: Pid) -> nix::Result<()> {
        let mut all = getregs(thread)?;
        all.orig_rax = u64::MAX;
        setregs(thread, all)
    }

    pub(super) fn set_result(thread: Pid, errno: i32) -> nix::Result<()> {
        let mut all = getregs(thread)?;
        all.rax = i64::from(-errno).cast_unsigned();
        setregs(thread, all)
    }
}

/// Calls are met and not told apart, and cannot fail.
#[cfg(not(target_arch = "x86_64"))]
mod registers {
    use nix::errno::Errno;
    use nix::unistd::Pid;

    pub(super) fn number(_: Pid) -> nix::Result<i64> {
        Ok(-1)
    }

    pub(super) fn skip(_: Pid) -> nix::Result<()> {
        Err(Errno::ENOSYS)
    }

    pub(super) fn set_result(_: Pid, _: i32) -> nix::Result<()> {
        Err(Errno::ENOSYS)
    }
}

/// The name of a call that others may notice; empty for one that they cannot, such as those for memory. Where calls are not
/// told apart, all have one name.
pub fn name(number: i64) -> &'static str {
    if CALLS.is_empty() {
        return "call";
    }
    let found = CALLS.iter().find(|(known, _)| *known == number);
    found.map_or("", |(_, name)| name)
}

#[cfg(not(target_arch = "x86_64"))]
const CALLS: &[(i64, &str)] = &[];
#[cfg(target_arch = "x86_64")]
const CALLS: &[(i64, &str)] = &[
    (libc::SYS_accept4, "accept4"),
    (libc::SYS_bind, "bind"),
    (libc::SYS_chdir, "chdir"),
    (libc::SYS_clone, "clone"),
    (libc::SYS_clone3, "clone3"),
    (libc::SYS_close, "close"),
    (libc::SYS_connect, "connect"),
    (libc::SYS_dup, "dup"),
    (libc::SYS_epoll_create1, "epoll_create1"),
    (libc::SYS_epoll_ctl, "epoll_ctl"),
    (libc::SYS_epoll_wait, "epoll_wait"),
    (libc::SYS_eventfd2, "eventfd2"),
    (libc::SYS_exit_group, "exit_group"),
    (libc::SYS_fallocate, "fallocate"),
    (libc::SYS_fcntl, "fcntl"),
    (libc::SYS_flock, "flock"),
    (libc::SYS_fstat, "fstat"),
    (libc::SYS_ftruncate, "ftruncate"),
    (libc::SYS_getpeername, "getpeername"),
    (libc::SYS_getsockname, "getsockname"),
    (libc::SYS_getsockopt, "getsockopt"),
    (libc::SYS_ioctl, "ioctl"),
    (libc::SYS_listen, "listen"),
    (libc::SYS_lseek, "lseek"),
    (libc::SYS_memfd_create, "memfd_create"),
    (libc::SYS_openat, "openat"),
    (libc::SYS_poll, "poll"),
    (libc::SYS_ppoll, "ppoll"),
    (libc::SYS_read, "read"),
    (libc::SYS_recvfrom, "recvfrom"),
    (libc::SYS_recvmsg, "recvmsg"),
    (libc::SYS_sendfile, "sendfile"),
    (libc::SYS_sendmsg, "sendmsg"),
    (libc::SYS_sendto, "sendto"),
    (libc::SYS_setsockopt, "setsockopt"),
    (libc::SYS_shutdown, "shutdown"),
    (libc::SYS_socket, "socket"),
    (libc::SYS_statx, "statx"),
    (libc::SYS_timerfd_create, "timerfd_create"),
    (libc::SYS_timerfd_settime, "timerfd_settime"),
    (libc::SYS_unlink, "unlink"),
    (libc::SYS_write, "write"),
    (libc::SYS_writev, "writev"),
];
