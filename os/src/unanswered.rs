//! Whether the way to a TCP peer is still there; [tcp(7)](https://man7.org/linux/man-pages/man7/tcp.7.html), TCP_INFO.

use std::io;
use std::mem::{MaybeUninit, offset_of};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use crate::failpoint::failpoint;

/// How long the kernel has sent the same bytes over and over, and the peer's kernel has not answered at all. Zero while all
/// is well.
///
/// A peer that does not read is no such case: its kernel answers that it has no room. TCP_USER_TIMEOUT does not tell the two
/// apart, and keep-alive probes are not sent while bytes are on their way (net/ipv4/tcp_timer.c), so without this a dead way
/// is found after tcp_retries2, about 15 minutes. Beyond two minutes the time is a lower bound.
///
/// # Errors
/// What getsockopt(2) reports: ENOPROTOOPT or EOPNOTSUPP if this is no TCP socket. [`io::ErrorKind::Unsupported`] if the kernel
/// tells less than is needed, as an emulator may.
pub fn unanswered(socket: impl AsFd) -> io::Result<Duration> {
    failpoint("getsockopt")?;
    let mut info = MaybeUninit::<libc::tcp_info>::zeroed();
    let mut len = length_of::<libc::tcp_info>();
    // SAFETY: the kernel writes at most `len` bytes into a value that has as many.
    let status = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    if status != 0 {
        return Err(io::Error::last_os_error());
    }
    let needed = offset_of!(libc::tcp_info, tcpi_last_ack_recv) + size_of::<u32>();
    if (len as usize) < needed {
        return Err(io::ErrorKind::Unsupported.into());
    }
    // SAFETY: it was zeroed, and every pattern of bits is a value of its integers.
    let info = unsafe { info.assume_init() };
    if info.tcpi_unacked == 0 || info.tcpi_retransmits == 0 {
        return Ok(Duration::ZERO);
    }
    // The n-th copy goes (2^n - 1) first timeouts after the original, and doubles the timeout (RFC 6298, 5.5).
    let first = info
        .tcpi_rto
        .checked_shr(info.tcpi_backoff.into())
        .unwrap_or(0);
    let repeating = Duration::from_micros(info.tcpi_rto.saturating_sub(first).into());
    let waiting = Duration::from_millis(info.tcpi_last_data_sent.into());
    // What is sent again to a peer without room is answered.
    let quiet = Duration::from_millis(info.tcpi_last_ack_recv.into());
    Ok(repeating.saturating_add(waiting).min(quiet))
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "no option of a socket is as long"
)]
const fn length_of<T>() -> libc::socklen_t {
    size_of::<T>() as libc::socklen_t
}

/// Nothing that is sent to this socket arrives any more, and nobody hears why: as if a cable were cut. For tests;
/// socket(7), SO_ATTACH_FILTER with the filter that takes no byte of a packet.
///
/// # Errors
/// What setsockopt(2) reports.
#[cfg(any(test, feature = "failpoints"))]
pub fn cut_off(socket: impl AsFd) -> io::Result<()> {
    const RETURN_CONSTANT: u16 = 6;
    let mut filter = libc::sock_filter {
        code: RETURN_CONSTANT,
        jt: 0,
        jf: 0,
        k: 0,
    };
    let program = libc::sock_fprog {
        len: 1,
        filter: &raw mut filter,
    };
    // SAFETY: the kernel copies the program, and the one instruction of it, in the call.
    let status = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            length_of::<libc::sock_fprog>(),
        )
    };
    if status != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::{TcpListener, TcpStream};
    use std::time::Instant;

    use super::*;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (near, listener.accept().unwrap().0)
    }

    fn is_unsupported(near: &TcpStream) -> bool {
        let told = unanswered(near);
        let is_unsupported = told.is_err_and(|error| error.kind() == io::ErrorKind::Unsupported);
        if is_unsupported {
            let _ = writeln!(io::stderr(), "NOT RUN: TCP_INFO is cut short here");
        }
        is_unsupported
    }

    fn is_unanswered_after(near: &TcpStream, wanted: Duration) -> bool {
        let end = Instant::now() + Duration::from_secs(60);
        while unanswered(near).unwrap() < wanted {
            if Instant::now() > end {
                return false;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        true
    }

    #[test]
    fn a_way_that_is_cut_is_found() {
        let (mut near, far) = pair();
        if is_unsupported(&near) {
            return;
        }
        near.write_all(b"before").unwrap();
        assert!(unanswered(&near).unwrap() < Duration::from_millis(200));
        cut_off(&far).unwrap();
        let begin = Instant::now();
        near.write_all(b"after").unwrap();
        assert!(is_unanswered_after(&near, Duration::from_secs(1)));
        assert!(begin.elapsed() >= Duration::from_millis(900));
    }

    #[test]
    fn a_peer_that_does_not_read_is_there() {
        let (mut near, far) = pair();
        if is_unsupported(&near) {
            return;
        }
        near.set_nonblocking(true).unwrap();
        while near.write(&[0; 1 << 16]).is_ok() {}
        // Probes of a closed window begin after 200 ms.
        let end = Instant::now() + Duration::from_secs(2);
        while Instant::now() < end {
            assert!(unanswered(&near).unwrap() < Duration::from_secs(1));
            std::thread::sleep(Duration::from_millis(50));
        }
        drop(far);
    }

    #[test]
    fn no_other_socket_is_asked() {
        let (near, _far) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(unanswered(&near).is_err());
    }
}
