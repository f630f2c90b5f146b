use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{ControlMessage, MsgFlags, recv, sendmsg, setsockopt, sockopt};
use nix::sys::time::TimeVal;

use crate::failpoint::point;

/// Sends a prefix of `slices`; sendmsg(2). With `block` the call waits for room, at most as long as
/// [`set_send_tick`] has set.
///
/// # Errors
/// [`io::ErrorKind::WouldBlock`] if there is no room; what sendmsg(2) reports. The call never raises SIGPIPE.
pub fn send(socket: impl AsFd, slices: &[IoSlice<'_>], block: bool) -> io::Result<usize> {
    send_message(socket, slices, &[], block)
}

/// Sends a prefix of `slices` and a descriptor with its first byte; unix(7), SCM_RIGHTS.
///
/// # Errors
/// As [`send`]; ETOOMANYREFS if too many descriptors are on their way.
pub fn send_with_descriptor(
    socket: impl AsFd,
    slices: &[IoSlice<'_>],
    descriptor: impl AsFd,
    block: bool,
) -> io::Result<usize> {
    let descriptors = [descriptor.as_fd().as_raw_fd()];
    send_message(
        socket,
        slices,
        &[ControlMessage::ScmRights(&descriptors)],
        block,
    )
}

fn send_message(
    socket: impl AsFd,
    slices: &[IoSlice<'_>],
    control: &[ControlMessage<'_>],
    block: bool,
) -> io::Result<usize> {
    let flags = MsgFlags::MSG_NOSIGNAL
        | if block {
            MsgFlags::empty()
        } else {
            MsgFlags::MSG_DONTWAIT
        };
    let socket = socket.as_fd().as_raw_fd();
    let call = if control.is_empty() {
        "sendmsg"
    } else {
        "sendmsg with a descriptor"
    };
    retry(|| {
        point(call)?;
        sendmsg::<()>(socket, slices, control, flags, None)
    })
}

/// Receives into `bytes`; recv(2). Zero is the end of the stream. With `block` the call waits, at most as long
/// as [`set_receive_tick`] has set.
///
/// # Errors
/// [`io::ErrorKind::WouldBlock`] if nothing came; what recv(2) reports.
pub fn receive(socket: impl AsFd, bytes: &mut [u8], block: bool) -> io::Result<usize> {
    let flags = if block {
        MsgFlags::empty()
    } else {
        MsgFlags::MSG_DONTWAIT
    };
    let socket = socket.as_fd().as_raw_fd();
    retry(|| {
        point("recv")?;
        recv(socket, bytes, flags)
    })
}

fn retry(mut call: impl FnMut() -> nix::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            result => return Ok(result?),
        }
    }
}

/// Lets a blocking receive wait no longer than `tick`; it returns [`io::ErrorKind::WouldBlock`] then. socket(7), SO_RCVTIMEO.
///
/// # Errors
/// What setsockopt(2) reports.
pub fn set_receive_tick(socket: impl AsFd, tick: Duration) -> io::Result<()> {
    point("setsockopt")?;
    Ok(setsockopt(
        &socket,
        sockopt::ReceiveTimeout,
        &time_value(tick),
    )?)
}

/// Lets a blocking send wait no longer than `tick`; it returns the count of what it has sent. socket(7), SO_SNDTIMEO.
///
/// # Errors
/// What setsockopt(2) reports.
pub fn set_send_tick(socket: impl AsFd, tick: Duration) -> io::Result<()> {
    point("setsockopt")?;
    Ok(setsockopt(
        &socket,
        sockopt::SendTimeout,
        &time_value(tick),
    )?)
}

fn time_value(time: Duration) -> TimeVal {
    TimeVal::new(time.as_secs().cast_signed(), time.subsec_micros().into())
}

/// Makes a TCP socket notice that its peer is gone; tcp(7).
///
/// The kernel probes a silent peer after `idle`, then every `interval`, `count` times.
///
/// # Errors
/// What setsockopt(2) reports.
pub fn keep_alive(
    socket: impl AsFd,
    idle: Duration,
    interval: Duration,
    count: u32,
) -> io::Result<()> {
    let seconds = |time: Duration| u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
    point("setsockopt")?;
    setsockopt(&socket, sockopt::KeepAlive, &true)?;
    setsockopt(&socket, sockopt::TcpKeepIdle, &seconds(idle))?;
    setsockopt(&socket, sockopt::TcpKeepInterval, &seconds(interval))?;
    Ok(setsockopt(&socket, sockopt::TcpKeepCount, &count)?)
}

/// Decides whether calls on a socket wait that have no flag of their own for it, as sendfile(2); fcntl(2), O_NONBLOCK.
///
/// # Errors
/// What fcntl(2) reports.
pub fn set_nonblocking(socket: impl AsFd, is_nonblocking: bool) -> io::Result<()> {
    point("fcntl")?;
    let flags = fcntl(&socket, FcntlArg::F_GETFL)?;
    let mut flags = OFlag::from_bits_retain(flags);
    flags.set(OFlag::O_NONBLOCK, is_nonblocking);
    point("fcntl")?;
    fcntl(&socket, FcntlArg::F_SETFL(flags))?;
    Ok(())
}

/// Reports to the peer that nothing more comes; shutdown(2), SHUT_WR.
///
/// # Errors
/// What shutdown(2) reports.
pub fn end_writing(socket: impl AsFd) -> io::Result<()> {
    point("shutdown")?;
    Ok(nix::sys::socket::shutdown(
        socket.as_fd().as_raw_fd(),
        nix::sys::socket::Shutdown::Write,
    )?)
}

/// Ends both directions: whoever reads or writes here finds the end; shutdown(2), SHUT_RDWR.
///
/// # Errors
/// What shutdown(2) reports.
pub fn hang_up(socket: impl AsFd) -> io::Result<()> {
    point("shutdown")?;
    Ok(nix::sys::socket::shutdown(
        socket.as_fd().as_raw_fd(),
        nix::sys::socket::Shutdown::Both,
    )?)
}

mod queue {
    nix::ioctl_read_bad!(
        /// SIOCOUTQ of tcp(7), which is TIOCOUTQ.
        get,
        libc::TIOCOUTQ,
        std::ffi::c_int
    );
    nix::ioctl_read_bad!(
        /// SIOCINQ of tcp(7) and unix(7), which is FIONREAD.
        unread,
        libc::FIONREAD,
        std::ffi::c_int
    );
}

/// Bytes that have come and were not read; tcp(7) and unix(7), SIOCINQ.
///
/// # Errors
/// What ioctl(2) reports.
pub fn unread(socket: impl AsFd) -> io::Result<usize> {
    point("ioctl")?;
    let mut bytes = 0;
    // SAFETY: the kernel writes one int to `bytes`.
    unsafe { queue::unread(socket.as_fd().as_raw_fd(), &raw mut bytes) }?;
    Ok(usize::try_from(bytes).unwrap_or(0))
}

/// Bytes written to a TCP socket that the peer's kernel has not acknowledged; tcp(7), SIOCOUTQ.
///
/// # Errors
/// What ioctl(2) reports.
pub fn unacknowledged(socket: impl AsFd) -> io::Result<usize> {
    point("ioctl")?;
    let mut bytes = 0;
    // SAFETY: the kernel writes one int to `bytes`.
    unsafe { queue::get(socket.as_fd().as_raw_fd(), &raw mut bytes) }?;
    Ok(usize::try_from(bytes).unwrap_or(0))
}
