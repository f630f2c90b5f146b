//! A socket of any kind, for programs that speak ZeroMQ itself.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use numpush_message::{Buffer, BufferAllocator, Message};
use numpush_session::Tag;
use numpush_zmtp::{Frames, Security};

use crate::deadline::Deadline;
use crate::endpoint::{Endpoint, EndpointError, Scheme};
use crate::error::{Error, Operation};
use crate::options::Options;
use crate::transfer::Transfer;
use crate::transport::{Context, Transport as _};
use crate::zmq::arrival::{Arrived, Content};
use crate::zmq::calls::Calls;
use crate::zmq::core::Core;
use crate::zmq::dial::Dial;
use crate::zmq::factory::{Zmq, terms};
use crate::zmq::parcel::Parcel;
use crate::zmq::pattern::{Pattern, name};
use crate::zmq::peer::Peer;
use crate::zmq::refusals::Refusals;
use crate::zmq::stream::Listening;
use crate::zmq::terms::Terms;

/// A ZeroMQ socket of any kind, with any number of endpoints and peers. The other side may be any program that speaks ZMTP 3.
///
/// A [`Connection`](crate::Connection) over `zmq+tcp:` is one such socket with one endpoint. This type has what a connection has
/// not: several endpoints, topics, names of peers, and messages of other programs.
///
/// A message of numpush is a frame with its header and a frame for each buffer. Frames before it, the *envelope*, are the program's: a
/// topic that subscribers of it match, the name of a ROUTER's peer, the way back of a request.
///
/// ```
/// # mod numpush { pub use numpush_message::*; pub use numpush_transports::*; }
/// use numpush::{Buffer, Message, Options};
/// use numpush::zmq::{Content, Kind, Socket};
///
/// let mut publisher = Socket::new(Kind::Pub, &Options::new())?;
/// let address = publisher.bind("zmq+tcp://127.0.0.1:0")?;
///
/// let mut subscriber = Socket::new(Kind::Sub, &Options::new())?;
/// subscriber.subscribe(b"weather")?;
/// subscriber.connect(&address)?;
///
/// // What is published before a subscriber has come is not for it.
/// publisher.wait_for_peers(1)?;
/// publisher.send_with(&[b"traffic"], &Message::new(Buffer::copy_of(b"jam")))?;
/// publisher.send_with(&[b"weather"], &Message::new(Buffer::copy_of(b"rain")))?;
///
/// let received = subscriber.recv()?;
/// assert_eq!(received.envelope, [b"weather"]);
/// let Content::Message(message) = received.content else { panic!() };
/// assert_eq!(message.as_bytes().unwrap()[..], *b"rain");
/// # Ok::<(), numpush::Error>(())
/// ```
///
/// # What each kind does
///
/// | kind | send | recv |
/// | --- | --- | --- |
/// | PUSH | to the peers in turn, those with room | |
/// | PULL | | from the peers in turn |
/// | PUB | to those that subscribe to the beginning of the first frame | |
/// | SUB | | what it [subscribes](Self::subscribe) to |
/// | XPUB | as PUB | a frame that begins with 1 and a topic when the first peer subscribes to that, with 0 when nobody does any more |
/// | XSUB | such a frame: it subscribes | all that comes |
/// | REQ | a request, to the peers in turn | its answer, before the next request |
/// | REP | the answer to the last request | requests from the peers in turn |
/// | DEALER | as PUSH | as PULL |
/// | ROUTER | to the peer that the first frame names | as PULL, with the name of the peer before it |
/// | PAIR | to the one peer | from the one peer |
///
/// What waits for a peer is bounded by [`Options::window`]. PUB and XPUB drop a message for a peer whose queue is full and
/// [count](Self::status) that; ROUTER and REP return [`Error::QueueFull`], unless a ROUTER is [not to](Self::set_mandatory); the others wait.
pub struct Socket {
    calls: Calls,
    options: Options,
    allocator: Box<dyn BufferAllocator>,
    security: Arc<Security>,
    /// A ROUTER fails where it cannot deliver a message, and does not drop it.
    is_mandatory: bool,
    name: &'static str,
}

/// A message, with what stands before it.
#[non_exhaustive]
#[derive(Debug)]
pub struct Multipart {
    /// The frames before the message: a topic, or the way back to who sent it. On a ROUTER the first is the name of the peer.
    pub envelope: Vec<Vec<u8>>,
    /// What came.
    pub content: Content,
    /// What it cost.
    pub transfer: Transfer,
}

/// What goes on at a socket, made by [`Socket::status`].
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketStatus {
    /// Peers that are ready.
    pub peers: usize,
    /// Peers that have connected and have not said yet who they are.
    pub handshakes: usize,
    /// Bytes that wait to be written, to all peers together, and to the next one that comes.
    pub queued: u64,
    /// Messages that a peer did not get, since its queue was full.
    pub dropped: u64,
    /// Peers that got no connection. [`Socket::take_refused`] says why.
    pub refused: u64,
}

/// A peer of a socket, made by [`Socket::peers`].
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// Where it is, as errors name it.
    pub address: String,
    /// What it is called: its own name, or the one that a ROUTER has given it. Empty if it has none.
    pub identity: Vec<u8>,
    /// Who it has proved to be: its key as Z85 (CURVE), or its name (PLAIN). `None` if nobody asks.
    pub user: Option<String>,
    /// Topics that it subscribes to.
    pub topics: usize,
    /// Bytes that wait to be written.
    pub queued: u64,
    /// Messages that it did not get, since its queue was full.
    pub dropped: u64,
}

impl Socket {
    /// A socket of this kind that has no endpoint yet. Of the options, the limits, timeouts, the window, the allocator and
    /// what secures connections ([`Options::curve`], [`Options::plain`]) count.
    ///
    /// # Errors
    /// [`Error::Io`] if the system has no descriptor for it, or no thread for the first one of the process.
    pub fn new(kind: Pattern, options: &Options) -> Result<Self, Error> {
        let security = options.secured.0.clone();
        let security = security.unwrap_or_else(|| Arc::new(Security::Null));
        let terms = Terms {
            takes_raw: true,
            ..terms(kind, Arc::clone(&security), options)
        };
        let core = Core::new(terms, |_, _| Ok(()));
        let core = core.map_err(Error::io(Operation::SetUp, name(kind)))?;
        Ok(Self {
            calls: Calls::new(core, kind),
            security,
            is_mandatory: true,
            allocator: options.make_allocator(),
            options: options.clone(),
            name: name(kind),
        })
    }

    /// Its kind.
    pub fn kind(&self) -> Pattern {
        self.calls.pattern()
    }

    /// Tells a ROUTER on the other side what this socket is called: 1 to 255 bytes, of which the first is no zero. Peers of
    /// later endpoints hear it.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for another name, or on a socket that is no REQ, DEALER or ROUTER.
    pub fn set_identity(&mut self, identity: &[u8]) -> Result<(), Error> {
        self.check_origin()?;
        let is_asked = matches!(
            self.calls.pattern(),
            Pattern::Req | Pattern::Dealer | Pattern::Router
        );
        if !is_asked {
            return Err(self.unsupported(Operation::SetUp, "nobody asks it for a name"));
        }
        if identity.len() > 255 || identity.first().is_none_or(|first| *first == 0) {
            let reason = "a name has 1 to 255 bytes, and the first is no zero";
            return Err(self.unsupported(Operation::SetUp, reason));
        }
        let core = self.calls.core();
        core.look(|state| state.identity = identity.into());
        Ok(())
    }

    /// Whether a ROUTER returns an error where it cannot deliver a message, since it has no peer of that name or its queue is full. If
    /// not, it drops the message and [counts](Self::status) that. Default: yes.
    pub fn set_mandatory(&mut self, is_mandatory: bool) {
        self.is_mandatory = is_mandatory;
    }

    /// Listens at an endpoint: `zmq+tcp://HOST:PORT`, where port 0 takes a free one, `zmq+ipc://PATH`, or `zmq+ipc://@NAME`. Returns
    /// the endpoint at which others connect.
    ///
    /// An address that other machines can reach needs [`Options::curve`], so that each peer proves a key that is known here, or
    /// `?trusted=1`.
    ///
    /// # Errors
    /// [`Error::Endpoint`] for one of another scheme or with other parameters; [`Error::Io`] if it is taken.
    pub fn bind(&mut self, endpoint: &str) -> Result<String, Error> {
        self.check_origin()?;
        let (factory, at) = resolve(endpoint)?;
        let addresses = factory.trusted(&at, &self.security)?;
        let failed = |source| Error::io(Operation::Listen, endpoint)(source);
        let listening = Listening::bind(factory.medium, at.address(), addresses.as_deref());
        let listening = listening.map_err(failed)?;
        let address = listening.address().map_err(failed)?;
        let core = self.calls.core();
        let mut call = core.enter();
        let (state, events) = call.parts();
        state.listen(listening, events).map_err(failed)?;
        Ok(address)
    }

    /// Connects to an endpoint, now and whenever the connection is lost, until [`Self::unbind`] or the end of the socket. Returns at
    /// once; [`Self::wait_for_peers`] waits for the other side.
    ///
    /// # Errors
    /// [`Error::Endpoint`] for one of another scheme or with parameters.
    pub fn connect(&mut self, endpoint: &str) -> Result<(), Error> {
        self.check_origin()?;
        let (factory, to) = resolve(endpoint)?;
        let core = self.calls.core();
        let mut call = core.enter();
        let (state, events) = call.parts();
        state.connect(Dial::new(factory.medium, to.address()));
        // It begins in this call.
        state.tell(&[], events);
        Ok(())
    }

    /// Ends what [`Self::bind`] or [`Self::connect`] began, by its name: nobody comes there any more, and a connection that was
    /// made is ended at once. Those who have come to a listener stay.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if the socket has no such endpoint.
    pub fn unbind(&mut self, endpoint: &str) -> Result<(), Error> {
        self.check_origin()?;
        let core = self.calls.core();
        let mut call = core.enter();
        let (state, events) = call.parts();
        if !state.forget(endpoint, events) {
            return Err(self.unsupported(Operation::Close, "it has no endpoint of that name"));
        }
        Ok(())
    }

    /// Receives messages that begin with `topic`; all of them if that is empty. Until it has subscribed, a SUB receives nothing. What is
    /// subscribed to twice has to be unsubscribed twice.
    ///
    /// # Errors
    /// [`Error::Unsupported`] on a socket that is no SUB or XSUB, for a topic over 4 KiB, and for more topics than a peer takes: 10,000,
    /// or 1 MiB together.
    pub fn subscribe(&mut self, topic: &[u8]) -> Result<(), Error> {
        self.check_origin()?;
        self.calls.subscribe(topic, true)
    }

    /// Undoes one [`Self::subscribe`].
    ///
    /// # Errors
    /// [`Error::Unsupported`] on a socket that is no SUB or XSUB.
    pub fn unsubscribe(&mut self, topic: &[u8]) -> Result<(), Error> {
        self.check_origin()?;
        self.calls.subscribe(topic, false)?;
        self.calls.drop_unwanted();
        Ok(())
    }

    /// Sends a message without an envelope.
    ///
    /// # Errors
    /// As [`Self::send_with`].
    pub fn send(&mut self, message: &Message<'_>) -> Result<Transfer, Error> {
        self.send_with(&[], message)
    }

    /// Sends a message behind these frames.
    ///
    /// # Errors
    /// [`Error::Timeout`] if no peer has room within the send timeout; [`Error::QueueFull`] and [`Error::UnknownPeer`] of a ROUTER;
    /// [`Error::Disconnected`] if a REP's peer is gone; [`Error::Unfinished`] if a message of borrowed memory was begun and the time
    /// was over, which then goes on; [`Error::Unsupported`] where the kind does not allow it now.
    pub fn send_with(
        &mut self,
        envelope: &[&[u8]],
        message: &Message<'_>,
    ) -> Result<Transfer, Error> {
        Context::check_size(message.payload_len(), self.options.max_message, "this side")?;
        self.send_parcel(envelope, Parcel::Message(message))
    }

    /// Sends frames as they are, as any program of ZeroMQ does: at least one. On a ROUTER the first names the peer.
    ///
    /// # Errors
    /// As [`Self::send_with`].
    pub fn send_frames(&mut self, frames: &[Buffer<'_>]) -> Result<Transfer, Error> {
        let len = frames.iter().map(|frame| frame.len() as u64).sum();
        Context::check_size(len, self.options.max_message, "this side")?;
        self.send_parcel(&[], Parcel::Frames(frames))
    }

    fn send_parcel(&mut self, envelope: &[&[u8]], parcel: Parcel<'_>) -> Result<Transfer, Error> {
        self.check_origin()?;
        let cx = Context {
            options: &self.options,
            allocator: &mut *self.allocator,
            peer: self.name,
            tag: Tag::default(),
            deadline: Deadline::after(self.options.send_timeout),
        };
        let sent = self.calls.send_parcel(envelope, parcel, &cx);
        match sent {
            Err(Error::UnknownPeer { .. } | Error::QueueFull { .. })
                if !self.is_mandatory && self.calls.pattern() == Pattern::Router =>
            {
                self.calls.core().look(|state| state.dropped += 1);
                Ok(Transfer::default())
            }
            sent => sent,
        }
    }

    /// Receives the next message. What another program has sent comes as the frames that it is; each lies in the allocator.
    ///
    /// # Errors
    /// [`Error::Timeout`] if none comes within the receive timeout; [`Error::Skipped`] for one over the limit, and for one that
    /// claims to be of numpush and is not; [`Error::NoRoom`] if the allocator has none now;
    /// [`Error::Disconnected`] if the peer that a REQ has asked is gone: ask again.
    pub fn recv(&mut self) -> Result<Multipart, Error> {
        self.check_origin()?;
        let mut cx = Context {
            options: &self.options,
            allocator: &mut *self.allocator,
            peer: self.name,
            tag: Tag::default(),
            deadline: Deadline::after(self.options.recv_timeout),
        };
        let Arrived {
            content,
            transfer,
            envelope,
        } = self.calls.recv_parcel(&mut cx)?;
        Ok(Multipart {
            envelope,
            content,
            transfer,
        })
    }

    /// How long a send and a receive wait from now on; zero for not at all, `None` for ever.
    pub fn set_timeouts(&mut self, send: Option<Duration>, recv: Option<Duration>) {
        (self.options.send_timeout, self.options.recv_timeout) = (send, recv);
    }

    /// Waits until the socket has so many peers; on a PUB or XPUB, that subscribe to something.
    ///
    /// # Errors
    /// [`Error::Timeout`] if they do not come within the connect timeout.
    pub fn wait_for_peers(&mut self, count: usize) -> Result<(), Error> {
        self.check_origin()?;
        let publishes = self.calls.pattern().publishes();
        let counts = |peer: &&Peer| peer.is_open() && !(publishes && peer.topics.is_empty());
        let deadline = Deadline::after(self.options.connect_timeout);
        let core = self.calls.core();
        let mut call = core.enter();
        while call.state().peers.values().filter(counts).count() < count {
            let waited = call.wait(deadline, None);
            let waited = waited.map_err(Error::io(Operation::Wait, self.name))?;
            let (state, events) = call.parts();
            state.step(events);
            if !waited && state.peers.values().filter(counts).count() < count {
                return Err(deadline.error(Operation::Connect, self.name));
            }
        }
        Ok(())
    }

    /// What goes on.
    pub fn status(&self) -> SocketStatus {
        self.calls.core().look(|state| {
            let peers = state.peers.values();
            SocketStatus {
                peers: peers.clone().filter(|peer| peer.is_open()).count(),
                handshakes: state.refusals.handshakes(),
                queued: peers.map(|peer| peer.outbound.left()).sum::<u64>()
                    + state.orphans.iter().map(Frames::left).sum::<u64>(),
                dropped: state.dropped,
                refused: state.refusals.count(),
            }
        })
    }

    /// The peers that are ready.
    pub fn peers(&self) -> Vec<PeerStatus> {
        self.calls.core().look(|state| {
            let peers = state.peers.values().filter(|peer| peer.is_open());
            let status = |peer: &Peer| PeerStatus {
                address: peer.stream.name.clone(),
                identity: peer.identity.clone(),
                user: peer.user.clone(),
                topics: peer.topics.iter().count(),
                queued: peer.outbound.left(),
                dropped: peer.dropped,
            };
            peers.map(status).collect()
        })
    }

    /// Why a peer got no connection, the oldest of the last 16 first; `None` once all are told.
    pub fn take_refused(&mut self) -> Option<Error> {
        self.calls.core().refusals().and_then(Refusals::take)
    }

    /// Waits until the kernels of the peers have all that was sent, and ends. A drop without it waits for [`Options::linger`].
    ///
    /// # Errors
    /// [`Error::Timeout`] if that takes longer than the send timeout: what has not gone is lost with the drop.
    pub fn close(mut self) -> Result<(), Error> {
        self.check_origin()?;
        let mut cx = Context {
            options: &self.options,
            allocator: &mut *self.allocator,
            peer: self.name,
            tag: Tag::default(),
            deadline: Deadline::after(self.options.send_timeout),
        };
        self.calls.close(&mut cx)
    }

    fn check_origin(&self) -> Result<(), Error> {
        self.calls.origin().check(self.name)
    }

    fn unsupported(&self, operation: Operation, reason: &'static str) -> Error {
        Error::Unsupported {
            transport: self.name,
            operation,
            reason,
        }
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket")
            .field("kind", &self.calls.pattern())
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

/// The transport and the parts of an endpoint of ZeroMQ.
fn resolve(endpoint: &str) -> Result<(&'static Zmq, Endpoint), Error> {
    let at: Endpoint = endpoint.parse()?;
    let fault = |fault| {
        Error::Endpoint(EndpointError::Address {
            address: endpoint.to_owned(),
            fault,
        })
    };
    let factory = match at.scheme() {
        Scheme::ZmqTcp => &Zmq::TCP,
        Scheme::ZmqIpc => &Zmq::IPC,
        _ => {
            return Err(fault(
                "a ZeroMQ socket has endpoints of zmq+tcp: and zmq+ipc:",
            ));
        }
    };
    if at.parameters().any(|(name, _)| name != "trusted") {
        return Err(fault(
            "a socket takes its kind, its limits and its keys when it is made, from its options",
        ));
    }
    Ok((factory, at))
}
