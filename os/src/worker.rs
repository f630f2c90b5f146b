//! System calls for worker processes.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigHandler, Signal, signal};

/// Takes the standard input of this process, and puts /dev/null in its place; dup2(2).
///
/// # Errors
/// What dup(2) and open(2) report.
pub fn take_standard_input() -> io::Result<OwnedFd> {
    let taken = io::stdin().as_fd().try_clone_to_owned()?;
    let null = OpenOptions::new().read(true).open("/dev/null")?;
    nix::unistd::dup2_stdin(null)?;
    Ok(taken)
}

/// Ignores Ctrl-C. A terminal sends it to a whole group of processes; the process that started this one decides.
pub fn ignore_interrupt() {
    // SAFETY: SIG_IGN runs no handler.
    let _ = unsafe { signal(Signal::SIGINT, SigHandler::SigIgn) };
}

/// Waits until the other side of a stream socket has closed it or has died; poll(2), POLLRDHUP.
pub fn wait_for_hangup(socket: impl AsFd) {
    // nix does not name POLLRDHUP.
    let closed = PollFlags::from_bits_retain(libc::POLLRDHUP);
    let mut polled = [PollFd::new(socket.as_fd(), closed)];
    while poll(&mut polled, PollTimeout::NONE) == Err(Errno::EINTR) {}
}

/// True if the other side of a stream socket has closed it or has died.
pub fn is_hung_up(socket: impl AsFd) -> bool {
    let mut polled = [PollFd::new(
        socket.as_fd(),
        PollFlags::from_bits_retain(libc::POLLRDHUP),
    )];
    poll(&mut polled, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}

/// Ends this process at once, whatever its other threads do; _exit(2).
pub fn end_process() -> ! {
    // SAFETY: _exit does not return, and runs no code of this process.
    unsafe { libc::_exit(0) }
}

/// Ends another process at once; kill(2), SIGKILL.
///
/// # Errors
/// ESRCH if there is no such process, EPERM if it is somebody else's.
pub fn kill(pid: u32) -> io::Result<()> {
    let pid = i32::try_from(pid).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    Ok(nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(pid),
        Signal::SIGKILL,
    )?)
}
