//! TCP, with vectored writes from where the data lie and reads into the allocator.
//!
//! | | send | receive |
//! | --- | --- | --- |
//! | copies by us | none | none |
//! | copies by the kernel | one (plain memory), none (sendfile) | one |
//!
//! Ordered, acknowledged, up to `max_message` bytes a message. Buffers of 64 KiB and more that lie in a file that cannot
//! change go by sendfile(2), and those in sealed memory if the peer is another machine; the measurement behind that, and
//! why not splice(2), is in `docs/design/0001-paths.md`. CRC-32C per MiB
//! is on between machines, off on one; either side may ask for it. Not encrypted, not authenticated: use it on a
//! network you trust.

use std::io;
use std::net::{IpAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use numpush_message::{
    BufferAllocator, DecodeError, Header, Message, Preamble, Reference, Stability,
};
use numpush_os as os;

use crate::deadline::connect_until;
use crate::error::Error;
use crate::options::{Checksums, Options, Sendfile};
use crate::socket::listener::{Listener, ListeningSocket};
use crate::socket::session::Hello;
use crate::socket::{Medium, Plan, SMALL, Stream};
use crate::transfer::{PathReason, Transfer};
use crate::transport::{Acceptor, AllocatorFactory, Transport};

/// Connects to `address`, a host name or an IP address with a port (`[::1]:5555` for IPv6).
///
/// # Errors
/// [`Error::Io`] if nobody listens for as long as the connect timeout, or the name is unknown;
/// [`Error::Handshake`] if something else than numpush answers.
pub fn connect(
    address: &str,
    options: &Options,
    allocator: Box<dyn BufferAllocator>,
) -> Result<Box<dyn Transport>, Error> {
    let socket = connect_until(address, options.connect_timeout, || {
        connect_any(address, options.connect_timeout)
    })?;
    let peer = format!(
        "tcp://{}",
        socket
            .peer_addr()
            .map_err(Error::io("connect to", address))?
    );
    let (medium, hello) = set_up(&socket, options).map_err(Error::io("set up", &peer))?;
    let link = Stream::open(
        socket.into(),
        medium,
        peer,
        hello,
        options.clone(),
        allocator,
    )?;
    Ok(Box::new(link))
}

/// Listens on `address`; port 0 takes a free one, which [`Acceptor::address`] tells.
///
/// # Errors
/// [`Error::Io`] if the address is not ours or taken.
pub fn listen(
    address: &str,
    options: &Options,
    allocators: AllocatorFactory,
) -> Result<Box<dyn Acceptor>, Error> {
    let listener = TcpListener::bind(address).map_err(Error::io("listen on", address))?;
    listener
        .set_nonblocking(true)
        .map_err(Error::io("listen on", address))?;
    Ok(Box::new(Listener::new(
        listener,
        options.clone(),
        allocators,
    )))
}

/// Tries each address of the name in turn.
fn connect_any(address: &str, timeout: Duration) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, timeout.max(Duration::from_millis(1))) {
            Ok(socket) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn set_up(socket: &TcpStream, options: &Options) -> io::Result<(Tcp, Hello)> {
    socket.set_nodelay(true)?;
    // Probes after 15 s, every 5 s, 3 times; data unacknowledged for 30 s end the connection too.
    let seconds = Duration::from_secs;
    os::keep_alive(socket, seconds(15), seconds(5), 3, seconds(30))?;
    let same_host = is_same_host(socket.peer_addr()?.ip(), socket.local_addr()?.ip());
    let checksums = match options.checksums {
        Checksums::On => true,
        Checksums::Off => false,
        Checksums::Auto => !same_host,
    };
    let hello = Hello {
        max_message: options.max_message,
        checksums,
        segments: false,
    };
    Ok((
        Tcp {
            same_host,
            sendfile: options.sendfile,
        },
        hello,
    ))
}

fn is_same_host(peer: IpAddr, local: IpAddr) -> bool {
    peer.to_canonical().is_loopback() || peer == local
}

impl ListeningSocket for TcpListener {
    type Medium = Tcp;

    fn descriptor(&self) -> BorrowedFd<'_> {
        self.as_fd()
    }

    fn take(&self) -> io::Result<(OwnedFd, String)> {
        let (socket, peer) = self.accept()?;
        Ok((socket.into(), format!("tcp://{peer}")))
    }

    fn authenticate(
        &self,
        socket: &OwnedFd,
        peer: &str,
        options: &Options,
    ) -> Result<(Tcp, Hello), Error> {
        let socket = socket.try_clone().map_err(Error::io("set up", peer))?;
        set_up(&TcpStream::from(socket), options).map_err(Error::io("set up", peer))
    }

    fn address(&self) -> String {
        self.local_addr().map_or_else(
            |_| "tcp://?".to_owned(),
            |address| format!("tcp://{address}"),
        )
    }
}

/// Bytes and nothing else.
pub(crate) struct Tcp {
    same_host: bool,
    sendfile: Sendfile,
}

impl Tcp {
    /// A mapping that is warm is written faster than its pages are sent, as long as both cost one processor's time. A
    /// file may not even be in memory.
    fn prefers_sendfile(&self, stability: Stability) -> bool {
        match self.sendfile {
            Sendfile::On => true,
            Sendfile::Off => false,
            Sendfile::Auto => !self.same_host || stability == Stability::File,
        }
    }
}

impl Medium for Tcp {
    const DESCRIPTORS: bool = false;
    const KEEPS_SENT: bool = false;

    fn plan(&mut self, message: &Message<'_>, _: u32, _: bool) -> Plan {
        let mut backings = message
            .buffers()
            .filter_map(|buffer| Some((buffer.len(), buffer.backing()?)));
        let largest = backings.clone().map(|(len, _)| len as u64).max();
        if backings
            .any(|(len, backing)| len as u64 >= SMALL && self.prefers_sendfile(backing.stability))
        {
            return Plan::SendFile;
        }
        Plan::Write(match largest {
            None => PathReason::PlainMemory,
            Some(len) if len < SMALL => PathReason::Small,
            Some(_) => PathReason::SameHost,
        })
    }

    fn accept_segment(&mut self, _: &Preamble, _: Option<OwnedFd>) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn resolve(
        &mut self,
        record: &Preamble,
        _: Header,
        _: &[Reference],
        _: &mut dyn BufferAllocator,
    ) -> Result<(Message<'static>, Transfer), DecodeError> {
        // A TCP peer was told that we take no segments.
        let segment = record.id;
        Err(DecodeError::Reference {
            segment,
            offset: 0,
            len: record.payload_len,
            size: 0,
        })
    }

    fn released(&mut self, _: u32) {}

    fn take_releases(&mut self) -> Vec<u32> {
        Vec::new()
    }
}
