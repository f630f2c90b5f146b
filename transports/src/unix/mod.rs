//! Unix sockets, with descriptors of memory passed instead of bytes.
//!
//! | | send | receive |
//! | --- | --- | --- |
//! | copies by us, buffers in a segment | none | none |
//! | copies by us, plain memory of 64 KiB and more | one, into a recycled segment | none |
//! | copies by the kernel, smaller messages | one | one |
//! | copies by us, into a allocator that insists (an arena) | as above | one, out of the segment |
//!
//! A segment's descriptor is passed and mapped once; after that a message names (segment, offset, length). The peer must
//! run as this process's user, or as one the options allow; what a foreign user sends is copied unless it is sealed
//! against writing, because it could change under us. Ordered, acknowledged, up to `max_message` bytes a message.

mod borrower;
mod lender;
mod medium;
mod path;
mod segment;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::Path;

use numpush_message::BufferAllocator;
use numpush_os as os;

use crate::deadline::connect_until;
use crate::error::Error;
use crate::options::{Checksums, Options};
use crate::socket::Stream;
use crate::socket::listener::{Listener, ListeningSocket};
use crate::socket::session::Hello;
use crate::transport::{Acceptor, AllocatorFactory, Transport};
use medium::Segments;

pub use segment::{SealedBufferError, SealedBufferMut};

/// Connects to the socket with this path, or with this abstract name if it begins with `@`.
///
/// # Errors
/// [`Error::Io`] if nobody listens for as long as the connect timeout; [`Error::ForeignUser`] if the listener belongs
/// to another user.
pub fn connect(
    name: &str,
    options: &Options,
    allocator: Box<dyn BufferAllocator>,
) -> Result<Box<dyn Transport>, Error> {
    let address = address(name)?;
    let socket = connect_until(name, options.connect_timeout, || {
        UnixStream::connect_addr(&address)
    })?;
    let peer = format!("unix:{name}");
    let socket = OwnedFd::from(socket);
    let (medium, hello) = authenticate(&socket, &peer, options)?;
    Ok(Box::new(Stream::open(
        socket,
        medium,
        peer,
        hello,
        options.clone(),
        allocator,
    )?))
}

/// Listens at a path or at an abstract name. A path must be free, or a socket that no process has open any more: nothing
/// else is ever replaced. The socket's file is removed when the listener is dropped.
///
/// # Errors
/// [`Error::Io`] with [`io::ErrorKind::AddrInUse`] if a process has a socket there, with
/// [`io::ErrorKind::AlreadyExists`] if there is a file of another kind; what bind(2) says.
pub fn listen(
    name: &str,
    options: &Options,
    allocators: AllocatorFactory,
) -> Result<Box<dyn Acceptor>, Error> {
    let address = address(name)?;
    let failed = |source| Error::io("listen on", name)(source);
    let (listener, file) = if name.starts_with('@') {
        (UnixListener::bind_addr(&address).map_err(failed)?, None)
    } else {
        let (listener, file) = path::bind(Path::new(name)).map_err(failed)?;
        (listener, Some(file))
    };
    listener.set_nonblocking(true).map_err(failed)?;
    let door = Socket {
        _file: file,
        listener,
        name: name.to_owned(),
    };
    Ok(Box::new(Listener::new(door, options.clone(), allocators)))
}

fn address(name: &str) -> Result<SocketAddr, Error> {
    let result = match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(name),
    };
    let fault = "a socket's path or name has 1 to 107 bytes";
    result
        .ok()
        .filter(|_| !matches!(name, "" | "@"))
        .ok_or_else(|| Error::Address {
            address: name.to_owned(),
            fault,
        })
}

fn authenticate(
    socket: &OwnedFd,
    peer: &str,
    options: &Options,
) -> Result<(Segments, Hello), Error> {
    let credentials = os::peer_credentials(socket).map_err(Error::io("identify", peer))?;
    let (uid, allowed) = (credentials.uid, os::user());
    if uid != allowed && !options.allowed_users.contains(&uid) {
        return Err(Error::ForeignUser {
            peer: peer.to_owned(),
            uid,
            allowed,
        });
    }
    let hello = Hello {
        max_message: options.max_message,
        checksums: options.checksums == Checksums::On,
        segments: true,
    };
    Ok((Segments::new(uid == allowed, options.segment_budget), hello))
}

struct Socket {
    /// Before the socket: it is dropped first.
    _file: Option<path::SocketFile>,
    listener: UnixListener,
    name: String,
}

impl ListeningSocket for Socket {
    type Medium = Segments;

    fn descriptor(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    fn take(&self) -> io::Result<(OwnedFd, String)> {
        let (socket, _) = self.listener.accept()?;
        let socket = OwnedFd::from(socket);
        let pid = os::peer_credentials(&socket)?.pid;
        Ok((socket, format!("unix:{} (process {pid})", self.name)))
    }

    fn authenticate(
        &self,
        socket: &OwnedFd,
        peer: &str,
        options: &Options,
    ) -> Result<(Segments, Hello), Error> {
        authenticate(socket, peer, options)
    }

    fn address(&self) -> String {
        format!("unix:{}", self.name)
    }
}
