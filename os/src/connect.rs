//! Connections that do not wait, or whose wait has an end.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixSocketAddr, UnixStream};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, UnixAddr, connect, socket,
};

use crate::failpoint::point;
use crate::socket::{set_nonblocking, set_send_tick};

/// Connects to a unix socket of the abstract namespace; unix(7).
///
/// While the queue of the listener is full it waits for room, until `deadline`: SO_SNDTIMEO of socket(7) holds for
/// connect(2) of unix sockets too.
///
/// # Errors
/// [`io::ErrorKind::ConnectionRefused`] if nobody listens there, [`io::ErrorKind::TimedOut`] if the queue stayed full,
/// and what socket(2) and connect(2) report.
pub fn connect_abstract(name: &str, deadline: Instant) -> io::Result<UnixStream> {
    let address = UnixAddr::new_abstract(name.as_bytes())?;
    point("socket")?;
    let socket = socket(
        AddressFamily::Unix,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        // Zero would wait forever.
        set_send_tick(&socket, left.max(Duration::from_millis(1)))?;
        match point("connect").and_then(|()| connect(socket.as_raw_fd(), &address)) {
            Ok(()) => return Ok(UnixStream::from(socket)),
            Err(Errno::EINTR | Errno::EAGAIN) if Instant::now() < deadline => {}
            Err(Errno::EINTR | Errno::EAGAIN) => return Err(io::ErrorKind::TimedOut.into()),
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Begins to connect to a TCP address; connect(2) and EINPROGRESS. The socket is writable when the connection is there or
/// has failed: [`TcpStream::take_error`] says which. Its calls do not wait.
///
/// # Errors
/// What socket(2) and connect(2) report at once.
pub fn start_connect(address: SocketAddr) -> io::Result<TcpStream> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    point("socket")?;
    let socket = socket(family, SockType::Stream, flags, None)?;
    let address = SockaddrStorage::from(address);
    match point("connect").and_then(|()| connect(socket.as_raw_fd(), &address)) {
        // A signal does not end what has begun.
        Ok(()) | Err(Errno::EINPROGRESS | Errno::EINTR) => Ok(TcpStream::from(socket)),
        Err(errno) => Err(errno.into()),
    }
}

/// Connects to a unix socket without a wait; unix(7). The calls of the connection wait as usual.
///
/// # Errors
/// [`io::ErrorKind::WouldBlock`] if the queue of the listener is full; what socket(2) and connect(2) report.
pub fn try_connect_unix(address: &UnixSocketAddr) -> io::Result<UnixStream> {
    let address = match (address.as_pathname(), address.as_abstract_name()) {
        (Some(path), _) => UnixAddr::new(path)?,
        (None, Some(name)) => UnixAddr::new_abstract(name)?,
        (None, None) => return Err(io::ErrorKind::InvalidInput.into()),
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    point("socket")?;
    let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    point("connect")?;
    connect(socket.as_raw_fd(), &address)?;
    set_nonblocking(&socket, false)?;
    Ok(UnixStream::from(socket))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::{SocketAddr, UnixListener};

    fn listener(name: &str) -> UnixListener {
        UnixListener::bind_addr(&SocketAddr::from_abstract_name(name).unwrap()).unwrap()
    }

    #[test]
    fn a_full_queue_is_a_timeout_and_room_ends_the_wait() {
        let name = format!("numpush-test-connect-{}", std::process::id());
        let listener = listener(&name);
        nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
        let soon = || Instant::now() + Duration::from_millis(50);
        let mut queued = Vec::new();
        let full = loop {
            match connect_abstract(&name, soon()) {
                Ok(socket) => queued.push(socket),
                Err(error) => break error,
            }
            assert!(queued.len() < 8, "the queue is never full");
        };
        assert_eq!(full.kind(), io::ErrorKind::TimedOut);
        std::thread::scope(|scope| {
            let waiting =
                scope.spawn(|| connect_abstract(&name, Instant::now() + Duration::from_secs(60)));
            listener.accept().unwrap();
            assert!(waiting.join().unwrap().is_ok());
        });
    }

    #[test]
    fn a_full_queue_is_no_wait() {
        let name = format!("numpush-test-try-connect-{}", std::process::id());
        let listener = listener(&name);
        nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let mut queued = Vec::new();
        let full = loop {
            match try_connect_unix(&address) {
                Ok(socket) => queued.push(socket),
                Err(error) => break error,
            }
            assert!(queued.len() < 8, "the queue is never full");
        };
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
        listener.accept().unwrap();
        try_connect_unix(&address).unwrap();
    }

    #[test]
    fn nobody_there_is_refused_at_once() {
        let error = connect_abstract(
            "numpush-test-connect-nobody",
            Instant::now() + Duration::from_secs(60),
        );
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }
}
