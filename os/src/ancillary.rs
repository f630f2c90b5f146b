//! Receiving a descriptor with bytes; [unix(7)](https://man7.org/linux/man-pages/man7/unix.7.html), SCM_RIGHTS.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;

use crate::failpoint::point;

/// What a receive call got besides the bytes.
#[derive(Debug, Default)]
pub struct Ancillary {
    /// The descriptor, if one came.
    pub descriptor: Option<OwnedFd>,
    /// True if not all descriptors are here that came: more than one were sent, or this process has no place for it. The
    /// kernel has let go of the others.
    pub truncated: bool,
}

impl Ancillary {
    /// True if a descriptor came for which this process has no place: it is gone for good.
    pub fn is_lost(&self) -> bool {
        self.truncated && self.descriptor.is_none()
    }
}

/// Bytes of a control message with one descriptor, without the padding after it.
const ONE: u32 = 4;

const _: () = assert!(size_of::<RawFd>() == 4);

/// Room for one control message with one descriptor.
///
/// CMSG_SPACE counts padding, in which the kernel would put a second descriptor. So the length that it is told is CMSG_LEN:
/// of several descriptors it installs one, and never makes numbers for the others.
#[repr(C)]
union Control {
    _align: libc::cmsghdr,
    bytes: [u8; SPACE],
}

const SPACE: usize = {
    // SAFETY: CMSG_SPACE(3) only calculates.
    unsafe { libc::CMSG_SPACE(ONE) as usize }
};

const LEN: usize = {
    // SAFETY: CMSG_LEN(3) only calculates.
    unsafe { libc::CMSG_LEN(ONE) as usize }
};

/// Receives into `bytes`, and at most one descriptor with them; recvmsg(2). The descriptor is closed by execve(2). Of
/// several descriptors that were sent together one is received, and the others are as if they had been closed.
///
/// # Errors
/// As [`receive`](crate::receive).
pub fn receive_with_descriptor(
    socket: impl AsFd,
    bytes: &mut [u8],
    block: bool,
) -> io::Result<(usize, Ancillary)> {
    let mut control = MaybeUninit::<Control>::zeroed();
    let mut slice = libc::iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: bytes.len(),
    };
    // SAFETY: all of its fields are integers and pointers, for which zero is a value.
    let mut header: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    header.msg_iov = &raw mut slice;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = LEN as _;
    let flags = libc::MSG_CMSG_CLOEXEC | if block { 0 } else { libc::MSG_DONTWAIT };
    let count = loop {
        point("recvmsg")?;
        // SAFETY: the header names `bytes` and `control` with their lengths, and both outlive the call, which keeps neither.
        let count = unsafe { libc::recvmsg(socket.as_fd().as_raw_fd(), &raw mut header, flags) };
        match Errno::result(count) {
            // The kernel has changed nothing of the header then.
            Err(Errno::EINTR) => {}
            result => break result?,
        }
    };
    let ancillary = Ancillary {
        descriptor: descriptor(&header),
        truncated: header.msg_flags & libc::MSG_CTRUNC != 0,
    };
    Ok((count.cast_unsigned(), ancillary))
}

/// The descriptor that the kernel has put into the control bytes of a received message.
fn descriptor(header: &libc::msghdr) -> Option<OwnedFd> {
    // SAFETY: the control bytes and their length are those that recvmsg(2) has written.
    let first = unsafe { libc::CMSG_FIRSTHDR(header) };
    // SAFETY: it is null, or a whole header in the control bytes, which are aligned for it.
    let first_header = unsafe { first.as_ref() }?;
    let is_descriptor = first_header.cmsg_level == libc::SOL_SOCKET
        && first_header.cmsg_type == libc::SCM_RIGHTS
        && first_header.cmsg_len as usize >= LEN;
    if !is_descriptor {
        return None;
    }
    // SAFETY: CMSG_DATA(3) only calculates.
    let data = unsafe { libc::CMSG_DATA(first) };
    // SAFETY: `cmsg_len` says that a number is there; it need not be aligned.
    let raw: RawFd = unsafe { data.cast::<RawFd>().read_unaligned() };
    // SAFETY: the kernel has just installed this descriptor for this process, and nothing else owns it.
    Some(unsafe { OwnedFd::from_raw_fd(raw) })
}

#[cfg(test)]
mod tests {
    use std::io::{IoSlice, Read};
    use std::os::unix::net::UnixStream;

    use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

    use super::*;

    /// A pipe whose writing end went with a message `times` times, and is open here no more.
    fn send_many(socket: &UnixStream, times: usize) -> io::PipeReader {
        let (reader, writer) = io::pipe().unwrap();
        let descriptors = vec![writer.as_raw_fd(); times];
        let rights = [ControlMessage::ScmRights(&descriptors)];
        let bytes = [IoSlice::new(b"x")];
        sendmsg::<()>(socket.as_raw_fd(), &bytes, &rights, MsgFlags::empty(), None).unwrap();
        reader
    }

    #[test]
    fn of_many_descriptors_one_is_received_and_none_stays() {
        for times in [1, 2, 3, 10, 253] {
            let (tx, rx) = UnixStream::pair().unwrap();
            let mut reader = send_many(&tx, times);
            let mut byte = [0; 8];
            let (count, ancillary) = receive_with_descriptor(&rx, &mut byte, true).unwrap();
            assert_eq!((count, byte[0]), (1, b'x'));
            assert_eq!(ancillary.truncated, times > 1, "{times}");
            assert!(!ancillary.is_lost());
            drop(ancillary.descriptor.unwrap());
            // The end of the pipe comes when its last writer is closed. Others would be ours.
            let flags = nix::fcntl::OFlag::O_NONBLOCK;
            nix::fcntl::fcntl(&reader, nix::fcntl::FcntlArg::F_SETFL(flags)).unwrap();
            assert_eq!(reader.read(&mut byte).unwrap(), 0, "{times}: one stayed");
        }
    }

    #[test]
    fn bytes_come_without_a_descriptor() {
        let (tx, rx) = UnixStream::pair().unwrap();
        crate::send(&tx, &[IoSlice::new(b"abc")], true).unwrap();
        let mut bytes = [0; 8];
        let (count, ancillary) = receive_with_descriptor(&rx, &mut bytes, true).unwrap();
        assert_eq!(bytes[..count], *b"abc");
        assert!(ancillary.descriptor.is_none() && !ancillary.truncated);
        let error = receive_with_descriptor(&rx, &mut bytes, false).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        drop(tx);
        assert_eq!(receive_with_descriptor(&rx, &mut bytes, true).unwrap().0, 0);
    }
}
