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

mod segments;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use numpush_message::BufferAllocator;
use numpush_os as os;

use crate::contract::{Acceptor, AllocatorFactory, Transport};
use crate::error::Error;
use crate::listener::{Door, Listener};
use crate::options::{Checksums, Options};
use crate::retry::connect_until;
use crate::session::Hello;
use crate::stream::Stream;
use segments::Segments;

pub use segments::{Segment, SegmentError};

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
    let (medium, hello) = examine(&socket, &peer, options)?;
    Ok(Box::new(Stream::open(
        socket,
        medium,
        peer,
        hello,
        options.clone(),
        allocator,
    )?))
}

/// Listens on a path, which must be free or left over by a dead process, or on an abstract name.
///
/// # Errors
/// [`Error::Io`] if somebody listens there, or the path cannot be made.
pub fn listen(
    name: &str,
    options: &Options,
    allocators: AllocatorFactory,
) -> Result<Box<dyn Acceptor>, Error> {
    let address = address(name)?;
    let failed = |source| Error::io("listen on", name)(source);
    let listener = match UnixListener::bind_addr(&address) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_abandoned(name, &address) => {
            std::fs::remove_file(name).map_err(failed)?;
            UnixListener::bind_addr(&address).map_err(failed)?
        }
        result => result.map_err(failed)?,
    };
    listener.set_nonblocking(true).map_err(failed)?;
    let path = (!name.starts_with('@')).then(|| PathBuf::from(name));
    let identity = path.as_deref().and_then(identity);
    let door = Socket {
        listener,
        name: name.to_owned(),
        path,
        identity,
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

/// A socket file whose process is gone refuses connections.
fn is_abandoned(name: &str, address: &SocketAddr) -> bool {
    let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    !name.starts_with('@') && UnixStream::connect_addr(address).is_err_and(refused)
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path)
        .ok()
        .map(|data| (data.dev(), data.ino()))
}

fn examine(socket: &OwnedFd, peer: &str, options: &Options) -> Result<(Segments, Hello), Error> {
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
    listener: UnixListener,
    name: String,
    path: Option<PathBuf>,
    identity: Option<(u64, u64)>,
}

impl Door for Socket {
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

    fn examine(
        &self,
        socket: &OwnedFd,
        peer: &str,
        options: &Options,
    ) -> Result<(Segments, Hello), Error> {
        examine(socket, peer, options)
    }

    fn address(&self) -> String {
        format!("unix:{}", self.name)
    }
}

impl Drop for Socket {
    /// Takes the path away, unless somebody else has taken it over.
    fn drop(&mut self) {
        if let Some(path) = &self.path
            && self.identity.is_some()
            && identity(path) == self.identity
        {
            let _ = std::fs::remove_file(path);
        }
    }
}
