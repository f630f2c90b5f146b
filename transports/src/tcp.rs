//! TCP, with vectored writes from where the data lie and reads into the allocator.
//!
//! | | send | receive |
//! | --- | --- | --- |
//! | copies by us | none | none |
//! | copies by the kernel | one (plain memory), none (sendfile) | one |
//!
//! Messages are ordered and acknowledged, and have up to `max_message` bytes. Buffers of 64 KiB and more in a file that
//! cannot change go by sendfile(2), and so do those in sealed memory if the peer is another machine;
//! `docs/design/0001-paths.md` has the measurement, and why not splice(2). CRC-32C per MiB is on between machines and off on
//! one; either side may ask for it. Nothing is encrypted or authenticated: use it on a network you trust.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use numpush_message::{Buffer, BufferAllocator, DecodeError, Hello, Message, Reference, Stability};
use numpush_os::{self as os, Ready};

use crate::deadline::{Deadline, connect_until};
use crate::endpoint::{Endpoint, Scheme};
use crate::error::{Error, Operation};
use crate::lookup::{self, LookUp};
use crate::options::{Options, Parameter, Switch};
use crate::socket::{
    Borrow, Lend, Link, ListeningSocket, Medium, Plan, SMALL, SocketAcceptor, SocketTransport,
    Terms, Way, goes_by_file, look_every,
};
use crate::transfer::{PathReason, Transfer};
use crate::transport::{Attempt, Bound, Established, Factory};

/// The factory of this transport.
pub(crate) struct Tcp;

const SENDFILE: Parameter = Parameter {
    name: "sendfile",
    values: Switch::VALUES,
    meaning: "sendfile(2) for memory with a descriptor (auto: between machines, and of files)",
    parse: |value, options| {
        options.sendfile = Switch::parse(value)?;
        Some(())
    },
};

impl Factory for Tcp {
    fn scheme(&self) -> Scheme {
        Scheme::Tcp
    }

    fn parameters(&self) -> &'static [Parameter] {
        &[
            Parameter::MAX,
            Parameter::CHECKSUMS,
            SENDFILE,
            Parameter::SPIN,
        ]
    }

    /// Connects to a host name or an IP address with a port (`[::1]:5555` for IPv6).
    fn connect(&self, to: &Endpoint, options: &Options) -> Result<Established, Error> {
        let asked = format!("tcp://{}", to.address());
        let deadline = Deadline::after(options.connect_timeout);
        let mut known = None;
        let socket = connect_until(&asked, options.connect_timeout, || {
            connect_any(to.address(), &mut known, deadline)
        })?;
        established(socket, &asked, options)
    }

    fn start(&self, to: &Endpoint, options: &Options) -> Result<Box<dyn Attempt>, Error> {
        let asked = format!("tcp://{}", to.address());
        let mut attempt = TcpAttempt {
            look_up: None,
            addresses: Vec::new().into_iter(),
            socket: None,
            least: Instant::now() + lookup::LEAST,
            asked,
            options: options.clone(),
        };
        match to.address().parse() {
            Ok(literal) => attempt.try_each(vec![literal])?,
            Err(_) => {
                let look_up = LookUp::start(to.address(), None);
                let look_up = look_up.map_err(Error::io(Operation::Connect, &attempt.asked))?;
                attempt.look_up = Some(look_up);
            }
        }
        Ok(Box::new(attempt))
    }

    /// Listens on an address of this machine; port 0 takes a free port.
    fn listen(&self, at: &Endpoint, options: &Options) -> Result<Bound, Error> {
        let bind = || {
            let listener = TcpListener::bind(at.address())?;
            listener.set_nonblocking(true)?;
            let address = format!("tcp://{}", listener.local_addr()?);
            Ok((listener, address))
        };
        let asked = format!("tcp://{}", at.address());
        let (listener, address) = bind().map_err(Error::io(Operation::Listen, &asked))?;
        let acceptor = SocketAcceptor::new(listener, options);
        let acceptor = acceptor.map_err(Error::io(Operation::Listen, &asked))?;
        Ok(Bound::new(acceptor, address))
    }
}

/// The connection over a socket that has just been connected.
fn established(socket: TcpStream, asked: &str, options: &Options) -> Result<Established, Error> {
    let peer = socket.peer_addr();
    let peer = peer.map_err(Error::io(Operation::Connect, asked))?;
    let peer = format!("tcp://{peer}");
    let set_up = set_up(&socket, options);
    let (medium, hello) = set_up.map_err(Error::io(Operation::SetUp, &peer))?;
    let link = Link::new(socket.into(), medium, peer.clone(), hello, options);
    Ok(Established::new(SocketTransport::open(link), peer))
}

/// A connection that is being made, to one address of the name after the other.
struct TcpAttempt {
    asked: String,
    /// As long as the addresses are not known.
    look_up: Option<LookUp>,
    addresses: std::vec::IntoIter<SocketAddr>,
    /// `None` once there is a connection or none can be had.
    socket: Option<TcpStream>,
    /// When the look-up, or the address at hand, has had the least time that it is given.
    least: Instant,
    options: Options,
}

impl TcpAttempt {
    fn try_each(&mut self, addresses: Vec<SocketAddr>) -> Result<(), Error> {
        self.addresses = addresses.into_iter();
        self.next(io::ErrorKind::AddrNotAvailable.into())
    }

    /// Goes on to the next address that can be tried. `last` is the error if there is none.
    fn next(&mut self, mut last: io::Error) -> Result<(), Error> {
        for address in self.addresses.by_ref() {
            match os::start_connect(address) {
                Ok(socket) => {
                    self.socket = Some(socket);
                    self.least = Instant::now() + LEAST;
                    return Ok(());
                }
                Err(error) => last = error,
            }
        }
        Err(Error::io(Operation::Connect, &self.asked)(last))
    }
}

impl Attempt for TcpAttempt {
    fn try_finish(&mut self) -> Result<Option<Established>, Error> {
        let failed = |error| Error::io(Operation::Connect, &self.asked)(error);
        if let Some(look_up) = &self.look_up {
            let Some(addresses) = look_up.try_take().map_err(failed)? else {
                return Ok(None);
            };
            self.look_up = None;
            return self.try_each(addresses).map(|()| None);
        }
        let Some(socket) = self.socket.take() else {
            return Ok(None);
        };
        let ready = os::wait(&[(socket.as_fd(), Ready::WRITE)], Some(Instant::now()));
        if !ready.map_err(failed)?.iter().any(|ready| ready.write) {
            self.socket = Some(socket);
            return Ok(None);
        }
        if let Some(error) = socket.take_error().map_err(failed)? {
            return self.next(error).map(|()| None);
        }
        socket.set_nonblocking(false).map_err(failed)?;
        established(socket, &self.asked, &self.options).map(Some)
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        let look_up = self.look_up.as_ref().map(LookUp::descriptor);
        look_up.or_else(|| self.socket.as_ref().map(AsFd::as_fd))
    }

    fn wants(&self) -> Ready {
        match self.look_up {
            Some(_) => Ready::READ,
            None => Ready::WRITE,
        }
    }

    #[cfg(feature = "tokio")]
    fn least(&self) -> Option<Instant> {
        Some(self.least)
    }
}

/// An address has so long at the least, that of this machine.
const LEAST: Duration = Duration::from_millis(1);

/// Addresses that are tried again and again are those of a name for so long.
const KNOWN: Duration = Duration::from_secs(1);

/// Looks the name up, unless it is known, and tries each of its addresses in turn, for its share of the time that is left.
fn connect_any(
    address: &str,
    known: &mut Option<(Instant, Vec<SocketAddr>)>,
    deadline: Deadline,
) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    drop(known.take_if(|(at, _)| at.elapsed() >= KNOWN));
    let (_, addresses) = match known {
        Some(known) => known,
        None => known.insert((Instant::now(), lookup::addresses(address, deadline.left())?)),
    };
    let mut untried = addresses.len();
    for address in addresses.iter() {
        // One that does not answer must leave time for those after it.
        let left = deadline.left().unwrap_or(Duration::MAX);
        let share = left / u32::try_from(untried).unwrap_or(u32::MAX);
        untried -= 1;
        match TcpStream::connect_timeout(address, share.max(LEAST)) {
            Ok(socket) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn set_up(socket: &TcpStream, options: &Options) -> io::Result<(TcpMedium, Hello)> {
    socket.set_nodelay(true)?;
    // Probes after 15 s, every 5 s, 3 times. They find a dead network while nothing is on its way; `Link::check_way` finds it
    // else. TCP_USER_TIMEOUT would also end a connection whose peer computes for long with a full receive buffer: Linux
    // applies it to probes of a closed window, although the peer's kernel answers each of them.
    let seconds = Duration::from_secs;
    os::keep_alive(socket, seconds(15), seconds(5), 3)?;
    os::set_receive_tick(socket, look_every(options.patience))?;
    let same_host = is_same_host(socket.peer_addr()?.ip(), socket.local_addr()?.ip());
    let hello = options.hello(options.checksums.or(!same_host));
    Ok((
        TcpMedium {
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
    type Medium = TcpMedium;

    fn descriptor(&self) -> BorrowedFd<'_> {
        self.as_fd()
    }

    fn accept(&self) -> io::Result<(OwnedFd, String)> {
        let (socket, peer) = Self::accept(self)?;
        Ok((socket.into(), format!("tcp://{peer}")))
    }

    fn authenticate(
        &self,
        socket: OwnedFd,
        peer: &str,
        options: &Options,
    ) -> Result<(OwnedFd, TcpMedium, Hello), Error> {
        let socket = TcpStream::from(socket);
        let set_up = set_up(&socket, options);
        let (medium, hello) = set_up.map_err(Error::io(Operation::SetUp, peer))?;
        Ok((socket.into(), medium, hello))
    }
}

/// A medium that carries bytes and nothing else.
pub(crate) struct TcpMedium {
    same_host: bool,
    sendfile: Switch,
}

impl TcpMedium {
    /// Between processes of one machine a write of warm memory is faster than to send its pages. A file may not be in memory
    /// at all.
    fn prefers_sendfile(&self, stability: Stability) -> bool {
        self.sendfile
            .or(!self.same_host || stability == Stability::File)
    }
}

impl Medium for TcpMedium {
    const DESCRIPTORS: bool = false;
    const NETWORK: bool = true;
    const KEEPS_SENT: bool = false;

    type Lender = Self;
    type Borrower = NoSegments;

    fn split(self) -> (Self, NoSegments) {
        (self, NoSegments)
    }
}

impl Lend for TcpMedium {
    fn plan(&mut self, message: &Message<'_>, _: Terms) -> Plan {
        let backings = message
            .buffers()
            .filter_map(|buffer| Some((buffer.len(), buffer.backing()?)));
        let largest = backings.map(|(len, _)| len as u64).max();
        let is_large = largest.is_some_and(|len| len >= SMALL);
        if is_large
            && message.buffers().any(|buffer| {
                goes_by_file(buffer)
                    && buffer
                        .backing()
                        .is_some_and(|backing| self.prefers_sendfile(backing.stability))
            })
        {
            return Plan::new(Way::SendFile);
        }
        Plan::new(Way::Write(match largest {
            None => PathReason::PlainMemory,
            Some(len) if len < SMALL => PathReason::Small,
            Some(_) => PathReason::SameHost,
        }))
    }

    fn commit(&mut self, _: Plan, _: u64) {}

    fn released(&mut self, _: u64) -> Result<(), &'static str> {
        Err("it releases memory, and none is lent to it")
    }
}

/// The incoming half: our hello to a TCP peer offers no segments.
pub(crate) struct NoSegments;

impl Borrow for NoSegments {
    fn accept_segment(&mut self, _: u32, _: Option<OwnedFd>) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn resolve(
        &mut self,
        _: u64,
        lens: &[u64],
        references: &[Reference],
        _: &mut dyn BufferAllocator,
    ) -> Result<(Vec<Buffer<'static>>, Transfer), DecodeError> {
        let first = references.first();
        Err(DecodeError::Reference {
            segment: first.map_or(0, |reference| reference.segment),
            offset: first.map_or(0, |reference| reference.offset),
            len: lens.first().copied().unwrap_or(0),
            size: 0,
        })
    }
}
