//! One side of a connection: what every transport does alike.

use std::fmt;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use numpush_message::{BufferAllocator, Message};
use numpush_os::Ready;
use numpush_session::Tag;

use crate::batch::{Batch, BatchError};
use crate::deadline::Deadline;
use crate::error::{Error, Operation};
use crate::halves::{Canceller, RecvHalf, SendHalf};
use crate::options::Options;
use crate::origin::Origin;
use crate::status::{Meter, Status};
use crate::transfer::{Capabilities, Received, Transfer};
use crate::transport::{Context, Duplex, Established, Transport};

/// A two-way connection that moves messages; what it can do depends on its transport, see [`Self::capabilities`].
///
/// Messages arrive whole, in order and at most once. A dropped connection closes: what was sent is still delivered if
/// the peer takes it within two seconds; to know that it was, call [`Self::close`]. It belongs to the process that made it:
/// in a forked child every call fails with [`Error::Forked`], and a drop leaves it to the parent.
///
/// ```
/// # mod numpush { pub use numpush_message::*; pub use numpush_transports::*; }
/// use numpush::{Buffer, Message};
///
/// let mut listener = numpush::listen("inproc:connection")?;
/// let mut tx = numpush::connect(&listener.address())?;
/// let mut rx = listener.accept()?;
///
/// tx.send(&Message::new(Buffer::copy_of(b"a request")))?;
/// let request = rx.recv()?.message;
/// rx.send(&request)?;
/// assert_eq!(tx.recv()?.message.as_bytes().unwrap()[..], *b"a request");
/// # Ok::<(), numpush::Error>(())
/// ```
pub struct Connection {
    transport: Box<dyn Transport>,
    options: Options,
    allocator: Box<dyn BufferAllocator>,
    peer: String,
    origin: Origin,
    /// The transport's name.
    scheme: &'static str,
}

impl Connection {
    pub(crate) fn new(established: Established, options: Options, scheme: &'static str) -> Self {
        Self {
            transport: established.transport,
            allocator: options.make_allocator(),
            options,
            peer: established.peer,
            origin: Origin::here(),
            scheme,
        }
    }

    /// Sends a message and returns what that cost. The message stays the caller's, whatever happens.
    ///
    /// On return its borrowed buffers are free again; shared ones are held as long as the medium reads them. It does
    /// not wait until the peer has everything: see [`Self::flush`].
    ///
    /// # Errors
    /// [`Error::TooLarge`] and [`Error::Message`] before anything is sent; [`Error::Timeout`] if the peer took nothing
    /// for as long as the send timeout; [`Error::Unfinished`] if the call ended in the middle of the message;
    /// [`Error::NoMemory`] if the kernel had none for it; [`Error::Disconnected`] if the peer is gone;
    /// [`Error::Unsupported`] on a medium that only receives.
    pub fn send(&mut self, message: &Message<'_>) -> Result<Transfer, Error> {
        self.send_tagged(message, Tag::default())
    }

    /// Sends a message on a channel, or as the answer to one of the peer's; else as [`Self::send`].
    ///
    /// ```
    /// # mod numpush { pub use numpush_message::*; pub use numpush_transports::*; }
    /// use numpush::{Buffer, Message};
    ///
    /// let mut listener = numpush::listen("tcp://127.0.0.1:0")?;
    /// let mut client = numpush::connect(&listener.address())?;
    /// let mut server = listener.accept()?;
    /// let question = client.send(&Message::new(Buffer::copy_of(b"question")))?;
    ///
    /// let received = server.recv()?;
    /// server.send_tagged(&Message::new(Buffer::copy_of(b"answer")), received.reply_tag())?;
    /// assert_eq!(client.recv()?.reply_to, question.id);
    /// # Ok::<(), numpush::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn send_tagged(&mut self, message: &Message<'_>, tag: Tag) -> Result<Transfer, Error> {
        self.check_size(message)?;
        let (transport, mut cx) = self.call(self.options.send_timeout)?;
        cx.tag = tag;
        transport.send(message, &mut cx)
    }

    /// Sends many messages in order, with fewer system calls than as many calls of [`Self::send`]: over tcp and unix those under
    /// 64 KiB that follow each other are written together, from where they lie. All of them together may take as long as the
    /// send timeout.
    ///
    /// ```
    /// # mod numpush { pub use numpush_message::*; pub use numpush_transports::*; }
    /// use numpush::{Buffer, Message};
    ///
    /// let mut listener = numpush::listen("tcp://127.0.0.1:0")?;
    /// let mut tx = numpush::connect(&listener.address())?;
    /// let mut rx = listener.accept()?;
    /// let ticks: Vec<_> = (0..100_u8)
    ///     .map(|tick| Message::new(Buffer::from(vec![tick; 64])))
    ///     .collect();
    ///
    /// let batch = tx.send_all(&ticks)?;
    /// assert_eq!((batch.count, batch.last_id), (100, 100));
    /// for tick in &ticks {
    ///     assert_eq!(rx.recv()?.message, *tick);
    /// }
    /// # Ok::<(), numpush::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`BatchError`], which says how many messages are sent: none if one of them is too large for this side, else those before
    /// the one that failed. Nothing is begun of the others. Its source is an error of [`Self::send`].
    pub fn send_all(&mut self, messages: &[Message<'_>]) -> Result<Batch, BatchError> {
        self.send_all_tagged(messages, Tag::default())
    }

    /// Sends many messages on a channel, or as answers to one of the peer's; else as [`Self::send_all`].
    ///
    /// # Errors
    /// As [`Self::send_all`].
    pub fn send_all_tagged(
        &mut self,
        messages: &[Message<'_>],
        tag: Tag,
    ) -> Result<Batch, BatchError> {
        self.check_sizes(messages)?;
        let nothing = |error| Batch::default().error(error);
        let (transport, mut cx) = self.call(self.options.send_timeout).map_err(nothing)?;
        cx.tag = tag;
        transport.send_all(messages, &mut cx)
    }

    /// Sends as many of the messages as can begin now, in order; else as [`Self::try_send`]. What the socket does not take at
    /// once of the last one is kept, and goes with later calls.
    ///
    /// # Errors
    /// [`BatchError`] if not all could begin; its source is [`Error::Timeout`] if the peer must take other messages first.
    pub fn try_send_all(&mut self, messages: &[Message<'_>]) -> Result<Batch, BatchError> {
        self.check_sizes(messages)?;
        let nothing = |error| Batch::default().error(error);
        self.origin.check(&self.peer).map_err(nothing)?;
        if let Some(duplex) = self.transport.duplex() {
            return duplex.try_send_all(messages, Tag::default());
        }
        let (transport, mut cx) = self.call(Some(Duration::ZERO)).map_err(nothing)?;
        transport.send_all(messages, &mut cx)
    }

    /// Sends a message if it can begin now. What the socket does not take at once is kept, without the caller's memory, and
    /// goes with later calls: [`Self::wants`] says when.
    ///
    /// # Errors
    /// [`Error::Timeout`] if the peer must take other messages first; else as [`Self::send`].
    pub fn try_send(&mut self, message: &Message<'_>) -> Result<Transfer, Error> {
        self.try_send_tagged(message, Tag::default())
    }

    /// As [`Self::try_send`], on a channel or as an answer.
    ///
    /// # Errors
    /// As [`Self::try_send`].
    pub fn try_send_tagged(&mut self, message: &Message<'_>, tag: Tag) -> Result<Transfer, Error> {
        self.check_size(message)?;
        self.origin.check(&self.peer)?;
        if let Some(duplex) = self.transport.duplex() {
            return duplex.try_send(message, tag);
        }
        let (transport, mut cx) = self.call(Some(Duration::ZERO))?;
        cx.tag = tag;
        transport.send(message, &mut cx)
    }

    /// Receives a message if one is here.
    ///
    /// # Errors
    /// [`Error::Timeout`] if none is; else as [`Self::recv`].
    pub fn try_recv(&mut self) -> Result<Received, Error> {
        let (transport, mut cx) = self.call(Some(Duration::ZERO))?;
        transport.recv(&mut cx)
    }

    /// Receives the next message.
    ///
    /// # Errors
    /// [`Error::Closed`] after the last message; [`Error::Timeout`]; [`Error::Disconnected`] if the peer is gone
    /// without closing; [`Error::InvalidMessage`] if it sent something that is no message, and [`Error::Skipped`] if one of the
    /// peers of a ZeroMQ socket did; [`Error::Unsupported`] on a medium that only sends.
    pub fn recv(&mut self) -> Result<Received, Error> {
        let (transport, mut cx) = self.call(self.options.recv_timeout)?;
        transport.recv(&mut cx)
    }

    /// Waits until the peer has every message sent.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where the medium has no way back; else as [`Self::send`].
    pub fn flush(&mut self) -> Result<(), Error> {
        let (transport, mut cx) = self.call(self.options.send_timeout)?;
        transport.flush(&mut cx)
    }

    /// Waits until the peer has every message sent, where the medium has a way back, and reports to it that no more
    /// come.
    ///
    /// # Errors
    /// As [`Self::send`]; some messages may not have arrived then.
    pub fn close(mut self) -> Result<(), Error> {
        let (transport, mut cx) = self.call(self.options.send_timeout)?;
        transport.close(&mut cx)
    }

    /// Closes this direction as [`Self::close`] does, and leaves the other one open: what the peer still sends can be
    /// received.
    ///
    /// # Errors
    /// As [`Self::close`]; [`Error::Unsupported`] for a ZeroMQ socket that sends and receives, whose directions end together.
    pub fn close_sending(&mut self) -> Result<(), Error> {
        if self.transport.capabilities().two_way {
            self.shared(Operation::Close)?;
        }
        let (transport, mut cx) = self.call(self.options.send_timeout)?;
        transport.close(&mut cx)
    }

    /// Takes the connection apart into its two directions, for two threads.
    ///
    /// ```
    /// # mod numpush { pub use numpush_message::*; pub use numpush_transports::*; }
    /// use numpush::{Buffer, Message};
    ///
    /// let mut listener = numpush::listen("tcp://127.0.0.1:0")?;
    /// let (mut tx, mut rx) = numpush::connect(&listener.address())?.split()?;
    /// let mut echo = listener.accept()?;
    /// let answers = std::thread::spawn(move || rx.recv());
    /// tx.send(&Message::new(Buffer::copy_of(b"there and back")))?;
    /// let message = echo.recv()?.message;
    /// echo.send(&message)?;
    /// assert_eq!(answers.join().unwrap()?.message, message);
    /// # Ok::<(), numpush::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Unsupported`] where the medium has no two independent directions; [`Error::Io`] if descriptors are short.
    pub fn split(self) -> Result<(SendHalf, RecvHalf), Error> {
        let duplex = self.shared(Operation::Split)?;
        duplex.share()?;
        Ok((
            SendHalf::new(Arc::clone(&duplex), self.options.clone(), self.peer.clone()),
            RecvHalf::new(duplex, self.options, self.peer),
        ))
    }

    /// A handle with which another thread ends a call of this connection that waits.
    ///
    /// # Errors
    /// As [`Self::split`].
    pub fn canceller(&self) -> Result<Canceller, Error> {
        let duplex = self.shared(Operation::Cancel)?;
        duplex.share()?;
        Ok(Canceller::new(&duplex))
    }

    /// The socket, to wait for it together with others; `None` where the medium has none. [`Self::wants`] says for what. Over
    /// inproc it is a descriptor that is made when it is first asked for, and readable as long as there is something to receive,
    /// or once after there is room again for what [`Self::try_send`] refused.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.transport.descriptor()
    }

    /// What to wait for at [`Self::descriptor`] before [`Self::try_recv`] or [`Self::try_send`] can do more: input, and room
    /// for output while something of this side is not written. A message that [`Self::has_input`] speaks of needs no wait.
    pub fn wants(&self) -> Ready {
        let duplex = self.transport.duplex();
        duplex.map_or_else(Ready::default, |duplex| duplex.wants())
    }

    /// True if [`Self::try_recv`] may return a message though nothing is to be read at the descriptor.
    pub fn has_input(&self) -> bool {
        let duplex = self.transport.duplex();
        duplex.is_some_and(|duplex| duplex.has_input())
    }

    /// What waits on this connection, in both directions; zeros where the medium does not count.
    pub fn status(&self) -> Status {
        let duplex = self.transport.duplex();
        duplex.map_or_else(Status::default, |duplex| duplex.status())
    }

    /// What shows another thread how far a call of this one is that sends; `None` where no socket takes the bytes. What goes by
    /// reference is not counted: no byte of it is written.
    ///
    /// ```
    /// # mod numpush { pub use numpush_message::*; pub use numpush_transports::*; }
    /// use numpush::{Buffer, Message};
    ///
    /// let mut listener = numpush::listen("tcp://127.0.0.1:0")?;
    /// let mut tx = numpush::connect(&listener.address())?;
    /// let mut rx = listener.accept()?;
    /// let meter = tx.meter().unwrap();
    /// let sending = std::thread::spawn(move || tx.send(&Message::new(Buffer::from(vec![7; 64 << 20]))));
    /// while meter.written() == 0 {
    ///     std::thread::yield_now();
    /// }
    /// rx.recv()?;
    /// sending.join().unwrap()?;
    /// assert!(meter.written() > 64 << 20);
    /// # Ok::<(), numpush::Error>(())
    /// ```
    pub fn meter(&self) -> Option<Meter> {
        self.transport.duplex()?.meter()
    }

    /// The messages that come, until the peer closes.
    ///
    /// A recoverable error, such as a timeout, is an item, and the next item is a new attempt. The iterator ends after
    /// [`Error::Closed`], which is no item, and after an error that is not recoverable.
    ///
    /// ```
    /// # mod numpush { pub use numpush_message::*; pub use numpush_transports::*; }
    /// use numpush::{Buffer, Message};
    ///
    /// let mut listener = numpush::listen("inproc:messages")?;
    /// let mut tx = numpush::connect(&listener.address())?;
    /// for text in ["one", "two"] {
    ///     tx.send(&Message::new(Buffer::copy_of(text.as_bytes())))?;
    /// }
    /// drop(tx);
    /// let mut lengths = Vec::new();
    /// for received in listener.accept()?.messages() {
    ///     lengths.push(received?.message.as_bytes().unwrap().len());
    /// }
    /// assert_eq!(lengths, [3, 3]);
    /// # Ok::<(), numpush::Error>(())
    /// ```
    pub fn messages(&mut self) -> Messages<'_> {
        Messages {
            connection: self,
            ended: false,
        }
    }

    /// How long send, flush and close wait for the peer, and how long recv waits for a message. `None`, the default,
    /// waits forever; zero polls.
    pub fn set_timeouts(&mut self, send: Option<Duration>, recv: Option<Duration>) {
        (self.options.send_timeout, self.options.recv_timeout) = (send, recv);
    }

    /// What the transport can do.
    pub fn capabilities(&self) -> Capabilities {
        self.transport.capabilities()
    }

    /// Who is on the other side.
    pub fn peer(&self) -> &str {
        &self.peer
    }

    pub(crate) fn shared(&self, operation: Operation) -> Result<Arc<dyn Duplex>, Error> {
        self.origin.check(&self.peer)?;
        self.transport.duplex().ok_or(Error::Unsupported {
            transport: "this transport",
            operation,
            reason: "a file of one message and a ZeroMQ socket have no two directions",
        })
    }

    /// The connection for a thread that waits for many at once.
    pub(crate) fn polled(&self) -> Result<Arc<dyn Duplex>, Error> {
        self.origin.check(&self.peer)?;
        let duplex = self.transport.duplex();
        let polled = duplex.filter(|_| self.descriptor().is_some());
        polled.ok_or_else(|| Error::Unsupported {
            transport: self.scheme,
            operation: Operation::Wait,
            reason: "it has no descriptor to wait for together with others",
        })
    }

    /// The connection for tasks.
    #[cfg(feature = "tokio")]
    pub(crate) fn polled_by_tasks(&self) -> Result<Arc<dyn Duplex>, Error> {
        self.origin.check(&self.peer)?;
        let duplex = self.transport.duplex();
        let polled = duplex.filter(|duplex| duplex.watches().is_some());
        polled.ok_or(Error::Unsupported {
            transport: self.scheme,
            operation: Operation::Wait,
            reason: "it has nothing that a task could wait for; its calls block",
        })
    }

    /// How long a send and a recv wait.
    #[cfg(feature = "tokio")]
    pub(crate) fn timeouts(&self) -> [Option<Duration>; 2] {
        [self.options.send_timeout, self.options.recv_timeout]
    }

    /// Largest payload that this side sends.
    #[cfg(feature = "tokio")]
    pub(crate) fn max_message(&self) -> u64 {
        self.options.max_message
    }

    pub(crate) fn check_size(&self, message: &Message<'_>) -> Result<(), Error> {
        Context::check_size(message.payload_len(), self.options.max_message, "this side")
    }

    pub(crate) fn check_sizes(&self, messages: &[Message<'_>]) -> Result<(), BatchError> {
        Context::check_sizes(messages, self.options.max_message)
    }

    fn call(
        &mut self,
        timeout: Option<Duration>,
    ) -> Result<(&mut dyn Transport, Context<'_>), Error> {
        self.origin.check(&self.peer)?;
        let cx = Context {
            options: &self.options,
            allocator: &mut *self.allocator,
            peer: &self.peer,
            tag: Tag::default(),
            deadline: Deadline::after(timeout),
        };
        Ok((&mut *self.transport, cx))
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

/// The messages of a connection, made by [`Connection::messages`].
#[derive(Debug)]
pub struct Messages<'c> {
    connection: &'c mut Connection,
    ended: bool,
}

impl Iterator for Messages<'_> {
    type Item = Result<Received, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let result = self.connection.recv();
        self.ended = result.as_ref().is_err_and(|error| !error.is_recoverable());
        match result {
            Err(error) if error.is_closed() => None,
            result => Some(result),
        }
    }
}
