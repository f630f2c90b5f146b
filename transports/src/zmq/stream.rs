//! The sockets under a ZeroMQ socket: where it listens, and where it connects to.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixListener};
use std::path::Path;
use std::time::Duration;

use numpush_os as os;

use crate::socket_file::{self, SocketFile};

/// What an endpoint of ours names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Medium {
    Tcp,
    Ipc,
}

impl Medium {
    /// An endpoint, as errors name it.
    pub(super) fn name(self, address: &str) -> String {
        match self {
            Self::Tcp => format!("zmq+tcp://{address}"),
            Self::Ipc => format!("zmq+ipc://{address}"),
        }
    }
}

/// A connected socket, or one that is being connected.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) socket: OwnedFd,
    pub(super) medium: Medium,
    /// Who is on the other side.
    pub(super) name: String,
}

impl Stream {
    /// Begins to connect to an address of tcp.
    pub(super) fn start(address: SocketAddr) -> io::Result<Self> {
        Ok(Self {
            socket: os::start_connect(address)?.into(),
            medium: Medium::Tcp,
            name: format!("zmq+tcp://{address}"),
        })
    }

    /// Connects to a path, or to an abstract name after an `@`.
    pub(super) fn open(path: &str) -> io::Result<Self> {
        let address = match path.strip_prefix('@') {
            Some(name) => UnixAddr::from_abstract_name(name)?,
            None => UnixAddr::from_pathname(path)?,
        };
        Ok(Self {
            socket: os::try_connect_unix(&address)?.into(),
            medium: Medium::Ipc,
            name: format!("zmq+ipc://{path}"),
        })
    }

    /// The kernel has connected it, or has not: that is the error. Prepares it if it has.
    pub(super) fn settle(&self) -> io::Result<()> {
        if self.medium == Medium::Tcp {
            let socket = TcpStream::from(self.socket.try_clone()?);
            if let Some(error) = socket.take_error()? {
                return Err(error);
            }
            socket.set_nodelay(true)?;
            // Probes find a dead network after half a minute while nothing is on its way.
            let seconds = Duration::from_secs;
            os::keep_alive(&socket, seconds(15), seconds(5), 3)?;
        }
        os::set_receive_tick(&self.socket, TICK)?;
        os::set_send_tick(&self.socket, TICK)?;
        os::set_nonblocking(&self.socket, false)
    }

    /// Bytes that the peer's kernel has not acknowledged. A local socket hands over at once what is written.
    pub(super) fn unacknowledged(&self) -> usize {
        match self.medium {
            Medium::Tcp => os::unacknowledged(&self.socket).unwrap_or(0),
            Medium::Ipc => 0,
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Longest wait in the kernel, for more of a message that has begun or for room for it.
pub(super) const TICK: Duration = Duration::from_millis(20);

/// Where others connect.
pub(super) enum Listening {
    Tcp(TcpListener),
    Ipc {
        /// The file goes first: as long as the socket lives, nobody replaces it.
        _file: Option<SocketFile>,
        listener: UnixListener,
        address: String,
    },
}

impl Listening {
    /// Listens at `address`, which stands for these `addresses` if they are known.
    pub(super) fn bind(
        medium: Medium,
        address: &str,
        addresses: Option<&[SocketAddr]>,
    ) -> io::Result<Self> {
        if medium == Medium::Tcp {
            let listener = match addresses {
                Some(addresses) => TcpListener::bind(addresses)?,
                None => TcpListener::bind(address)?,
            };
            listener.set_nonblocking(true)?;
            return Ok(Self::Tcp(listener));
        }
        let (listener, file) = match address.strip_prefix('@') {
            Some(name) => {
                let name = UnixAddr::from_abstract_name(name)?;
                (UnixListener::bind_addr(&name)?, None)
            }
            None => {
                let (listener, file) = socket_file::bind(Path::new(address))?;
                (listener, Some(file))
            }
        };
        listener.set_nonblocking(true)?;
        Ok(Self::Ipc {
            _file: file,
            listener,
            address: format!("zmq+ipc://{address}"),
        })
    }

    /// The endpoint at which others can connect.
    pub(super) fn address(&self) -> io::Result<String> {
        Ok(match self {
            Self::Tcp(listener) => format!("zmq+tcp://{}", listener.local_addr()?),
            Self::Ipc { address, .. } => address.clone(),
        })
    }

    /// The next one who has connected.
    pub(super) fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(listener) => {
                let (socket, peer) = listener.accept()?;
                Ok(Stream {
                    socket: socket.into(),
                    medium: Medium::Tcp,
                    name: format!("zmq+tcp://{peer}"),
                })
            }
            Self::Ipc {
                listener, address, ..
            } => Ok(Stream {
                socket: listener.accept()?.0.into(),
                medium: Medium::Ipc,
                name: format!("a peer of {address}"),
            }),
        }
    }
}

impl AsFd for Listening {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Ipc { listener, .. } => listener.as_fd(),
        }
    }
}
