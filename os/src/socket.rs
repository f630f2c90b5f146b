use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, recv, recvmsg, sendmsg, setsockopt, sockopt,
};
use nix::sys::time::TimeVal;

/// What came with received bytes.
#[derive(Debug, Default)]
pub struct Ancillary {
    /// The descriptor, if one came.
    pub descriptor: Option<OwnedFd>,
    /// More came than was allowed; the kernel has dropped it.
    pub truncated: bool,
}

/// Sends a prefix of `slices`; sendmsg(2). With `block` it waits for room, at most as long as [`set_send_tick`] said.
///
/// # Errors
/// [`io::ErrorKind::WouldBlock`] if there is no room, and what sendmsg(2) says; never a SIGPIPE.
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
    retry(|| sendmsg::<()>(socket, slices, control, flags, None))
}

/// Receives into `bytes`; recv(2). Zero is the end of the stream. With `block` it waits, at most as long as
/// [`set_receive_tick`] said.
///
/// # Errors
/// [`io::ErrorKind::WouldBlock`] if nothing came, and what recv(2) says.
pub fn receive(socket: impl AsFd, bytes: &mut [u8], block: bool) -> io::Result<usize> {
    let flags = if block {
        MsgFlags::empty()
    } else {
        MsgFlags::MSG_DONTWAIT
    };
    let socket = socket.as_fd().as_raw_fd();
    retry(|| recv(socket, bytes, flags))
}

/// Receives into `bytes`, and at most one descriptor with them, which will not survive an execve(2).
///
/// # Errors
/// As [`receive`].
pub fn receive_with_descriptor(
    socket: impl AsFd,
    bytes: &mut [u8],
    block: bool,
) -> io::Result<(usize, Ancillary)> {
    // Room for exactly one: the kernel drops a surplus and says so, where room to spare would let it in.
    let mut control = cmsg_space!([std::os::fd::RawFd; 1]);
    let flags = MsgFlags::MSG_CMSG_CLOEXEC
        | if block {
            MsgFlags::empty()
        } else {
            MsgFlags::MSG_DONTWAIT
        };
    let socket = socket.as_fd().as_raw_fd();
    let mut slices = [IoSliceMut::new(bytes)];
    let received = loop {
        match recvmsg::<()>(socket, &mut slices, Some(&mut control), flags) {
            Err(Errno::EINTR) => {}
            result => break result?,
        }
    };
    let mut ancillary = Ancillary {
        descriptor: None,
        truncated: received.flags.contains(MsgFlags::MSG_CTRUNC),
    };
    if let Ok(messages) = received.cmsgs() {
        for message in messages {
            let ControlMessageOwned::ScmRights(descriptors) = message else {
                continue;
            };
            for raw in descriptors {
                // SAFETY: the kernel has just installed this descriptor for us, and nobody else knows of it.
                let owned = unsafe { OwnedFd::from_raw_fd(raw) };
                ancillary.truncated |= ancillary.descriptor.is_some();
                ancillary.descriptor = Some(owned);
            }
        }
    }
    Ok((received.bytes, ancillary))
}

fn retry(mut call: impl FnMut() -> nix::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            result => return Ok(result?),
        }
    }
}

/// A blocking receive gives up after `tick` with [`io::ErrorKind::WouldBlock`]; socket(7), SO_RCVTIMEO.
///
/// # Errors
/// What setsockopt(2) says.
pub fn set_receive_tick(socket: impl AsFd, tick: Duration) -> io::Result<()> {
    Ok(setsockopt(
        &socket,
        sockopt::ReceiveTimeout,
        &time_value(tick),
    )?)
}

/// A blocking send gives up after `tick`, with what it has sent so far; socket(7), SO_SNDTIMEO.
///
/// # Errors
/// What setsockopt(2) says.
pub fn set_send_tick(socket: impl AsFd, tick: Duration) -> io::Result<()> {
    Ok(setsockopt(
        &socket,
        sockopt::SendTimeout,
        &time_value(tick),
    )?)
}

fn time_value(time: Duration) -> TimeVal {
    TimeVal::new(time.as_secs().cast_signed(), time.subsec_micros().into())
}

/// Makes a TCP socket notice a peer that is gone: probes after `idle`, then every `interval`, `count` times, and at
/// most `unacknowledged` for data on their way; tcp(7).
///
/// # Errors
/// What setsockopt(2) says.
pub fn keep_alive(
    socket: impl AsFd,
    idle: Duration,
    interval: Duration,
    count: u32,
    unacknowledged: Duration,
) -> io::Result<()> {
    let seconds = |time: Duration| u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
    let millis = u32::try_from(unacknowledged.as_millis()).unwrap_or(u32::MAX);
    setsockopt(&socket, sockopt::KeepAlive, &true)?;
    setsockopt(&socket, sockopt::TcpKeepIdle, &seconds(idle))?;
    setsockopt(&socket, sockopt::TcpKeepInterval, &seconds(interval))?;
    setsockopt(&socket, sockopt::TcpKeepCount, &count)?;
    Ok(setsockopt(&socket, sockopt::TcpUserTimeout, &millis)?)
}

/// Tells the peer that nothing more comes; shutdown(2), SHUT_WR.
///
/// # Errors
/// What shutdown(2) says.
pub fn end_writing(socket: impl AsFd) -> io::Result<()> {
    Ok(nix::sys::socket::shutdown(
        socket.as_fd().as_raw_fd(),
        nix::sys::socket::Shutdown::Write,
    )?)
}

mod queue {
    nix::ioctl_read_bad!(
        /// SIOCOUTQ of tcp(7), which is TIOCOUTQ.
        get,
        libc::TIOCOUTQ,
        std::ffi::c_int
    );
}

/// Bytes written to a TCP socket that the peer's kernel has not acknowledged; tcp(7), SIOCOUTQ.
///
/// # Errors
/// What ioctl(2) says.
pub fn unacknowledged(socket: impl AsFd) -> io::Result<usize> {
    let mut bytes = 0;
    // SAFETY: the kernel writes one int to `bytes`.
    unsafe { queue::get(socket.as_fd().as_raw_fd(), &raw mut bytes) }?;
    Ok(usize::try_from(bytes).unwrap_or(0))
}
