//! Unix sockets, with descriptors of memory passed instead of bytes.
//!
//! | | send | receive |
//! | --- | --- | --- |
//! | copies by us, buffers in a segment | none | none |
//! | copies by us, plain memory of 64 KiB and more | one, into a recycled segment | none |
//! | copies by the kernel, smaller messages | one | one |
//! | copies by us, into an allocator that wants every payload (an arena) | as above | one, out of the segment |
//!
//! A segment's descriptor is passed and mapped once; after that a message names (segment, offset, length). The peer must
//! run as this process's user, or as one the options allow; what a foreign user sends is copied unless it is sealed
//! against writing, because it could change under us. Ordered, acknowledged, up to `max_message` bytes a message.

mod borrower;
mod known;
mod lender;
mod medium;
mod pool;
mod segment;
mod shared;

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;

use numpush_message::{Hello, Preamble, RecordKind};
use numpush_os as os;
use numpush_session::Refusal;

use crate::deadline::connect_until;
use crate::endpoint::{Endpoint, EndpointError, Scheme};
use crate::error::{Error, Operation};
use crate::options::{Options, Parameter};
use crate::socket::{Link, ListeningSocket, SocketAcceptor, SocketTransport};
use crate::socket_file;
use crate::transport::{AtOnce, Attempt, Bound, Established, Factory};
use crate::unix::medium::Segments;

pub use segment::{SealedBufferError, SealedBufferMut};
pub(crate) use shared::SharedCopies;

/// The factory of this transport.
pub(crate) struct Unix;

const USERS: Parameter = Parameter {
    name: "users",
    values: "UID,UID",
    meaning: "users that may connect besides our own",
    parse: |value, options| {
        let users: Result<_, _> = value.split(',').map(str::parse).collect();
        options.allowed_users = users.ok()?;
        Some(())
    },
};

impl Factory for Unix {
    fn scheme(&self) -> Scheme {
        Scheme::Unix
    }

    fn parameters(&self) -> &'static [Parameter] {
        &[Parameter::MAX, Parameter::CHECKSUMS, USERS, Parameter::SPIN]
    }

    /// Connects to the socket with this path, or with this abstract name if it begins with `@`. While the queue of the
    /// listener is full it tries again, as while there is no listener.
    fn connect(&self, to: &Endpoint, options: &Options) -> Result<Established, Error> {
        let name = to.address();
        let (address, peer) = (address(name)?, format!("unix:{name}"));
        let socket = connect_until(&peer, options.connect_timeout, || {
            os::try_connect_unix(&address)
        })?;
        established(socket.into(), peer, options)
    }

    fn start(&self, to: &Endpoint, options: &Options) -> Result<Box<dyn Attempt>, Error> {
        let name = to.address();
        let (address, peer) = (address(name)?, format!("unix:{name}"));
        let socket = os::try_connect_unix(&address);
        let socket = socket.map_err(Error::io(Operation::Connect, &peer))?;
        let established = established(socket.into(), peer, options)?;
        Ok(Box::new(AtOnce(Some(established))))
    }

    /// Listens at a path or at an abstract name. A path must be free, or a socket that no process has open any more:
    /// nothing else is ever replaced. The socket's file is removed when the listener is dropped.
    ///
    /// Fails with [`Error::Io`]: [`io::ErrorKind::AddrInUse`] if a process has a socket there,
    /// [`io::ErrorKind::AlreadyExists`] if there is a file of another kind.
    fn listen(&self, at: &Endpoint, options: &Options) -> Result<Bound, Error> {
        let name = at.address();
        let socket_address = address(name)?;
        let address = format!("unix:{name}");
        let bind = || {
            let (listener, file) = if name.starts_with('@') {
                (UnixListener::bind_addr(&socket_address)?, None)
            } else {
                let (listener, file) = socket_file::bind(Path::new(name))?;
                (listener, Some(file))
            };
            listener.set_nonblocking(true)?;
            Ok((listener, file))
        };
        let (listener, file) = bind().map_err(Error::io(Operation::Listen, &address))?;
        let socket = UnixSocket {
            _file: file,
            listener,
            address: address.clone(),
        };
        let acceptor = SocketAcceptor::new(socket, options);
        let acceptor = acceptor.map_err(Error::io(Operation::Listen, &address))?;
        Ok(Bound::new(acceptor, address))
    }
}

/// The connection over a socket that has just been connected.
fn established(socket: OwnedFd, peer: String, options: &Options) -> Result<Established, Error> {
    let (medium, hello) = authenticate(&socket, &peer, options)?;
    let link = Link::new(socket, medium, peer.clone(), hello, options);
    Ok(Established::new(SocketTransport::open(link), peer))
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
        .ok_or_else(|| {
            let address = name.to_owned();
            EndpointError::Address { address, fault }.into()
        })
}

fn authenticate(
    socket: &OwnedFd,
    peer: &str,
    options: &Options,
) -> Result<(Segments, Hello), Error> {
    let credentials =
        os::peer_credentials(socket).map_err(Error::io(Operation::Handshake, peer))?;
    let (uid, allowed) = (credentials.uid, os::user());
    let trusted = credentials.same_user();
    if trusted.is_none() && !options.allowed_users.contains(&uid) {
        return Err(Error::ForeignUser {
            peer: peer.to_owned(),
            uid,
            allowed,
        });
    }
    let mut hello = options.hello(options.checksums.or(false));
    let segments = Segments::new(trusted, options.segment_budget, &options.budget);
    hello.segments = segments.limit();
    hello.descriptors = segments.limit();
    Ok((segments, hello))
}

/// Reports to a peer that its user may not connect, if its socket has room for that.
fn refuse_user(socket: &OwnedFd) {
    let record = Preamble::control(RecordKind::Refuse, Refusal::User.to_wire(), 0).encode(&[]);
    let _ = os::send(socket, &[IoSlice::new(&record)], false);
}

struct UnixSocket {
    /// Before the socket: it is dropped first.
    _file: Option<socket_file::SocketFile>,
    listener: UnixListener,
    address: String,
}

impl ListeningSocket for UnixSocket {
    type Medium = Segments;

    fn descriptor(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    fn accept(&self) -> io::Result<(OwnedFd, String)> {
        let (socket, _) = self.listener.accept()?;
        let socket = OwnedFd::from(socket);
        // Without a name it is refused when it is authenticated.
        let peer = os::peer_credentials(&socket).map_or_else(
            |_| self.address.clone(),
            |peer| format!("{} (process {})", self.address, peer.pid),
        );
        Ok((socket, peer))
    }

    fn authenticate(
        &self,
        socket: OwnedFd,
        peer: &str,
        options: &Options,
    ) -> Result<(OwnedFd, Segments, Hello), Error> {
        match authenticate(&socket, peer, options) {
            Ok((medium, hello)) => Ok((socket, medium, hello)),
            Err(error) => {
                if matches!(error, Error::ForeignUser { .. }) {
                    refuse_user(&socket);
                }
                Err(error)
            }
        }
    }
}
