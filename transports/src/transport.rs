//! What a transport is: a factory in the table of `registry`, and what it returns.

use std::os::fd::BorrowedFd;
#[cfg(feature = "tokio")]
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use numpush_message::{BufferAllocator, Message, Prepared};
use numpush_os::Ready;
use numpush_session::Tag;

use crate::batch::{Batch, BatchError};
use crate::deadline::Deadline;
use crate::endpoint::{Endpoint, Scheme};
use crate::error::Error;
#[cfg(feature = "zmq")]
use crate::error::Operation;
use crate::options::{Options, Parameter};
use crate::status::{ListenerStatus, Meter, Status};
use crate::transfer::{Capabilities, Received, Transfer};
#[cfg(feature = "tokio")]
use crate::watch::{Watch, Watches};

/// One mechanism.
///
/// A new transport is this type, a feature, a [`Scheme`], one line of `registry`, one line of the conformance suite and one
/// row of the README.
pub(crate) trait Factory: Sync {
    fn scheme(&self) -> Scheme;

    /// The parameters its endpoints may have.
    fn parameters(&self) -> &'static [Parameter];

    /// Connects, waiting up to the connect timeout for the other side to appear.
    fn connect(&self, to: &Endpoint, options: &Options) -> Result<Established, Error>;

    /// Begins to connect, without a wait for the other side. Default: it is there, or that is the error.
    fn start(&self, to: &Endpoint, options: &Options) -> Result<Box<dyn Attempt>, Error> {
        let options = options.clone().connect_timeout(Duration::ZERO);
        let established = self.connect(to, &options)?;
        Ok(Box::new(AtOnce(Some(established))))
    }

    fn listen(&self, at: &Endpoint, options: &Options) -> Result<Bound, Error>;
}

/// A connection that is being made.
pub(crate) trait Attempt: Send {
    /// Returns the connection once it is there. It is not called again after that, nor after an error.
    fn try_finish(&mut self) -> Result<Option<Established>, Error>;

    /// The descriptor that is ready for [`Self::wants`] when there is something to do; another one after a call.
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// What to wait for at the descriptor.
    fn wants(&self) -> Ready {
        Ready::WRITE
    }

    /// Until when it is worth a wait, however little time the caller has; `None` if there is nothing to wait for.
    #[cfg(feature = "tokio")]
    fn least(&self) -> Option<Instant> {
        None
    }
}

/// A connection that was there at once.
pub(crate) struct AtOnce(pub(crate) Option<Established>);

impl Attempt for AtOnce {
    fn try_finish(&mut self) -> Result<Option<Established>, Error> {
        Ok(self.0.take())
    }
}

/// One side of a two-way connection.
///
/// Messages arrive whole, in order and at most once, or not at all. What every transport does alike is done by
/// [`Connection`](crate::Connection): our own limit on sizes, timeouts, the peer's name.
pub(crate) trait Transport: Send {
    fn capabilities(&self) -> Capabilities;

    /// Sends a message. On return its borrowed buffers are free again; shared ones are held as long as the medium
    /// reads them. It does not wait until the peer has the message: see [`Self::flush`].
    ///
    /// Fails with [`Error::Message`] and [`Error::TooLarge`] before anything is sent; with [`Error::Timeout`] if the
    /// peer took nothing until the deadline; with [`Error::Disconnected`] if it is gone.
    fn send(&mut self, message: &Message<'_>, cx: &mut Context<'_>) -> Result<Transfer, Error>;

    /// Sends messages in order, and says how many if not all.
    fn send_all(
        &mut self,
        messages: &[Message<'_>],
        cx: &mut Context<'_>,
    ) -> Result<Batch, BatchError> {
        Batch::one_by_one(messages, |message| self.send(message, cx))
    }

    /// Receives the next message.
    ///
    /// Fails with [`Error::Closed`] after the last message, [`Error::Timeout`], [`Error::Disconnected`] if the peer is
    /// gone without closing, [`Error::InvalidMessage`] if it sent something that is no message, [`Error::NoRoom`] if the
    /// allocator has no room now: the message is then returned by a later call.
    fn recv(&mut self, cx: &mut Context<'_>) -> Result<Received, Error>;

    /// Waits until the peer has acknowledged every message sent.
    ///
    /// Fails with [`Error::Unsupported`] where the medium has no way back; else as [`Self::send`].
    fn flush(&mut self, cx: &mut Context<'_>) -> Result<(), Error>;

    /// Waits as [`Self::flush`] does where it can, then reports to the peer that nothing more comes.
    fn close(&mut self, cx: &mut Context<'_>) -> Result<(), Error>;

    /// The descriptor to wait for, if the medium has one.
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// The connection as several threads can use it, where the medium has two independent directions.
    fn duplex(&self) -> Option<Arc<dyn Duplex>> {
        None
    }
}

/// A connection that several threads can use at once: each direction by one.
pub(crate) trait Duplex: Send + Sync {
    /// As [`Transport::send`].
    fn send(&self, message: &Message<'_>, tag: Tag, deadline: Deadline) -> Result<Transfer, Error>;

    /// Takes a message if it can begin now; what the socket does not take at once is kept and goes with later calls.
    fn try_send(&self, message: &Message<'_>, tag: Tag) -> Result<Transfer, Error>;

    /// As [`Self::try_send`], for a message that was encoded for others too.
    fn try_send_prepared(&self, prepared: &Prepared<'_>, tag: Tag) -> Result<Transfer, Error> {
        self.try_send(prepared.message(), tag)
    }

    /// Bytes that memory of ours may have for the peer to map it, though we write it again later; 0 if the peer maps none.
    #[cfg(feature = "unix")]
    fn lends(&self) -> u64 {
        0
    }

    /// As [`Transport::send_all`].
    fn send_all(
        &self,
        messages: &[Message<'_>],
        tag: Tag,
        deadline: Deadline,
    ) -> Result<Batch, BatchError> {
        Batch::one_by_one(messages, |message| self.send(message, tag, deadline))
    }

    /// As [`Self::try_send`] for each of the messages, up to the first that cannot begin.
    fn try_send_all(&self, messages: &[Message<'_>], tag: Tag) -> Result<Batch, BatchError> {
        Batch::one_by_one(messages, |message| self.try_send(message, tag))
    }

    /// As [`Transport::recv`].
    fn recv(self: Arc<Self>, deadline: Deadline) -> Result<Received, Error>;

    /// As [`Transport::flush`].
    fn flush(&self, deadline: Deadline) -> Result<(), Error>;

    /// As [`Transport::close`]: this side sends no more, and can still receive.
    fn close_sending(&self, deadline: Deadline) -> Result<(), Error>;

    /// Prepares the connection for more than one thread.
    fn share(&self) -> Result<(), Error>;

    /// Ends the call at hand, or else the next one.
    fn cancel(&self);

    /// What to wait for at the socket before the next call.
    fn wants(&self) -> Ready;

    /// True if a message may be received without a read.
    fn has_input(&self) -> bool;

    /// What waits.
    fn status(&self) -> Status;

    /// What counts the bytes that go, if the medium has them counted.
    fn meter(&self) -> Option<Meter> {
        None
    }

    /// A call begins of a thread that waits for many connections at once: of the time since the last one only `time` was not
    /// the peer's.
    fn excuse(&self, _time: Duration) {}

    /// As [`Self::recv`] without a wait, for such a thread.
    fn poll_recv(self: Arc<Self>) -> Result<Received, Error> {
        self.recv(Deadline::after(Duration::ZERO))
    }

    /// The thread that waited for many connections does not wait for this one any more.
    fn hand_back(&self) {}

    /// Reads and writes what goes without a wait, after the peer's last message. Returns true once the peer has hung up, or if
    /// that cannot be told.
    fn attend(&self) -> Result<bool, Error> {
        Ok(true)
    }

    /// When the peer is late with what it has begun, so that a call is due though nothing has come.
    fn due(&self) -> Option<Instant> {
        None
    }

    /// True once the peer has said hello.
    fn is_greeted(&self) -> bool {
        true
    }

    /// Longest wait for the peer when the connection is dropped.
    fn linger(&self, _time: Duration) {}

    /// What tasks wait with; `None` where a task has nothing to wait for.
    #[cfg(feature = "tokio")]
    fn watches(&self) -> Option<Watches> {
        None
    }

    /// The socket that tasks wait for beside [`Self::watches`]; `None` where those say everything.
    #[cfg(feature = "tokio")]
    fn socket(&self) -> Option<Arc<OwnedFd>> {
        None
    }

    /// The program is done with the messages it has received.
    #[cfg(feature = "tokio")]
    fn finish(&self) {}

    /// Begins a message, without a wait. Fails as [`Self::try_send`] does. What is not written at once goes in steps.
    #[cfg(feature = "tokio")]
    fn begin<'m>(self: Arc<Self>, message: &'m Message<'m>, tag: Tag) -> Result<Begun<'m>, Error> {
        self.try_send(message, tag).map(Begun::Done)
    }
}

/// How a message begins that a task sends.
#[cfg(feature = "tokio")]
pub(crate) enum Begun<'m> {
    /// It is written whole, or with the one who writes it.
    Done(Transfer),
    /// The rest is written where it lies, by later steps.
    #[cfg_attr(
        not(any(feature = "tcp", feature = "unix")),
        expect(dead_code, reason = "only a socket is full in the middle of a message")
    )]
    Underway(Box<dyn Steps + 'm>),
}

/// A message that was begun and is not written whole. Dropped before it is, it is taken back if no byte of it has gone; else
/// the rest is kept, without the caller's memory, and goes by itself.
#[cfg(feature = "tokio")]
pub(crate) trait Steps: Send {
    /// Writes what goes without a wait, up to a bound. `None` if that is not all of it.
    fn step(&mut self) -> Result<Option<Transfer>, Error>;

    /// The call ends with `late`. Returns the error of the call: the same, or [`Error::Unfinished`] if a part has gone.
    fn give_up(self: Box<Self>, late: Error) -> Error;
}

/// A place where connections arrive.
pub(crate) trait Acceptor: Send {
    /// Waits for the next connection whose handshake is done. A peer that is slow, or that sends something else, delays
    /// nobody, and is no error: see [`Self::take_refused`].
    fn accept(&mut self, cx: &AcceptContext<'_>) -> Result<Established, Error>;

    /// Makes the descriptor this process's own, in a forked child.
    fn prepare(&mut self) -> std::io::Result<()> {
        Ok(())
    }

    /// A descriptor that is readable when accept has something to do, if the medium has one.
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// What waits, and who was refused.
    fn status(&self) -> ListenerStatus {
        ListenerStatus::default()
    }

    /// Why a peer got no connection: the oldest refusal that is kept and was not asked for.
    fn take_refused(&mut self) -> Option<Error> {
        None
    }

    /// What rings when a connection has come, where no descriptor shows that.
    #[cfg(feature = "tokio")]
    fn watch(&self) -> Option<Arc<Watch>> {
        None
    }
}

/// A connection that was made, and the peer's name.
pub(crate) struct Established {
    pub(crate) transport: Box<dyn Transport>,
    pub(crate) peer: String,
}

impl Established {
    pub(crate) fn new(transport: impl Transport + 'static, peer: String) -> Self {
        Self {
            transport: Box::new(transport),
            peer,
        }
    }
}

/// An acceptor, and the endpoint at which others can connect to it.
pub(crate) struct Bound {
    pub(crate) acceptor: Box<dyn Acceptor>,
    pub(crate) address: String,
}

impl Bound {
    pub(crate) fn new(acceptor: impl Acceptor + 'static, address: String) -> Self {
        Self {
            acceptor: Box::new(acceptor),
            address,
        }
    }
}

/// What the caller brings to every call on a connection.
#[cfg_attr(
    not(feature = "file"),
    expect(dead_code, reason = "what several threads use keeps its own")
)]
pub(crate) struct Context<'c> {
    pub(crate) options: &'c Options,
    /// Where received payloads go.
    pub(crate) allocator: &'c mut dyn BufferAllocator,
    pub(crate) peer: &'c str,
    /// What a message carries besides its contents, where the medium can carry it.
    pub(crate) tag: Tag,
    /// When this call must have returned.
    pub(crate) deadline: Deadline,
}

/// What a listener brings to every call of accept.
pub(crate) struct AcceptContext<'c> {
    pub(crate) address: &'c str,
    pub(crate) deadline: Deadline,
}

impl Context<'_> {
    /// Refuses a payload of more than `limit` bytes.
    pub(crate) fn check_size(len: u64, limit: u64, whose: &'static str) -> Result<(), Error> {
        if len > limit {
            return Err(Error::TooLarge { len, limit, whose });
        }
        Ok(())
    }

    /// Refuses messages of which one has more than `limit` bytes on this side.
    pub(crate) fn check_sizes(messages: &[Message<'_>], limit: u64) -> Result<(), BatchError> {
        let check = |one: &Message<'_>| Self::check_size(one.payload_len(), limit, "this side");
        let checked = messages.iter().try_for_each(check);
        checked.map_err(|error| Batch::default().error(error))
    }

    #[cfg(feature = "zmq")]
    pub(crate) fn timeout(&self, operation: Operation) -> Error {
        self.deadline.error(operation, self.peer)
    }

    #[cfg(feature = "file")]
    pub(crate) fn closed(&self) -> Error {
        Error::Closed {
            peer: self.peer.to_owned(),
        }
    }

    #[cfg(feature = "zmq")]
    pub(crate) fn failed(&self) -> Error {
        Error::Failed {
            peer: self.peer.to_owned(),
        }
    }
}
