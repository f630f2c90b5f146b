//! A connection for tasks.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use numpush_message::Message;
use numpush_session::Tag;

use crate::aio::driver::Driver;
use crate::aio::halves::{RecvHalf, SendHalf};
use crate::batch::{Batch, BatchError};
use crate::connection;
use crate::error::Error;
use crate::status::Status;
use crate::transfer::{Capabilities, Received, Transfer};

/// A [`Connection`](crate::Connection) whose calls are futures, over tcp, unix and inproc.
///
/// It has the same verbs, the same errors and the same costs. One task uses it at a time, as `&mut self` says; for two tasks,
/// one that sends and one that receives, there is [`Self::split`]. It stays with the runtime on which it was made;
/// [`Self::into_blocking`] and [`Self::new`] take it to another one.
///
/// A dropped connection closes as a blocking one does, but the drop does not wait: what was sent is still delivered if the
/// peer takes it within two seconds and this process runs so long. Connections that are dropped together are seen off one after
/// the other, and one whose peer is gone may cost those behind it their two seconds. To know that all was delivered, call
/// [`Self::close`].
///
/// A forked child that drops a copy of it leaves its parent's alone, and keeps the socket open until it ends or executes
/// another program.
///
/// # Futures that are dropped
///
/// A future may be dropped at any point, by `select!`, a timeout or an aborted task. The connection stays usable, and the peer
/// sees every message whole, in order and at most once:
///
/// | dropped | what is true then |
/// | --- | --- |
/// | `send` | The message was never begun, or it is kept and goes whole, before any later one. What is left of borrowed memory is copied for that. The caller is not told which: a [timeout of the connection](Self::set_timeouts) is, by [`Error::Timeout`] and [`Error::Unfinished`]. |
/// | `send_all` | The messages are sent up to one of them, each as a `send` that was dropped. |
/// | `recv`, `next` | No message is lost: the next call returns it. |
/// | `flush` | Nothing has changed. |
/// | `close_sending` | The direction is open, or closed if every message was acknowledged already. |
/// | `close` | The connection is dropped. |
///
/// A `send` that is neither polled nor dropped in the middle of a message holds up what else this side writes.
///
/// # What goes on without a task
///
/// Acknowledgements, credit and the rest of a message that was kept are written by a thread of the library, one a process,
/// if no call does it. That rest, and what `try_send` takes, is written in one go, as far as the socket takes it: only `send`
/// goes in steps. Peers are watched only while a task waits in a call: the time between calls is not the peer's, nor is
/// that for which the runtime runs a task late.
///
/// ```
/// # mod numpush { pub use numpush_message::*; pub use numpush_transports::*; }
/// use numpush::{Buffer, Message, aio};
///
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
/// # runtime.block_on(async {
/// let mut listener = aio::listen("tcp://127.0.0.1:0")?;
/// let mut client = aio::connect(&listener.address()).await?;
/// let mut server = listener.accept().await?;
///
/// client.send(&Message::new(Buffer::copy_of(b"question"))).await?;
/// let received = server.recv().await?;
/// server.send_tagged(&received.message, received.reply_tag()).await?;
/// assert_eq!(client.recv().await?.reply_to, 1);
/// # Ok::<(), numpush::Error>(())
/// # }).unwrap();
/// ```
pub struct Connection {
    /// Before the driver: the last one to go leaves in good order.
    connection: connection::Connection,
    driver: Arc<Driver>,
    timeouts: [Option<Duration>; 2],
}

impl Connection {
    /// A connection for the tasks of the runtime at hand, of one whose calls block.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if its transport has nothing that a task could wait for: a file, a folder, ZeroMQ.
    /// [`Error::Io`] if the runtime cannot watch the socket. The connection is dropped then.
    ///
    /// # Panics
    /// Outside of a tokio runtime that has its I/O enabled, as everything of tokio's that does I/O. The timers must be
    /// enabled too, in all calls.
    pub fn new(connection: connection::Connection) -> Result<Self, Error> {
        let driver = Arc::new(Driver::new(&connection)?);
        let timeouts = connection.timeouts();
        Ok(Self {
            connection,
            driver,
            timeouts,
        })
    }

    /// The same connection with calls that block. Nothing is lost; what is half written goes on in its calls.
    pub fn into_blocking(self) -> connection::Connection {
        let Self {
            mut connection,
            driver,
            timeouts,
        } = self;
        if let Some(driver) = Arc::into_inner(driver) {
            driver.hand_back();
        }
        connection.set_timeouts(timeouts[0], timeouts[1]);
        connection
    }

    /// As [`Connection::send`](crate::Connection::send). The task waits where that call would.
    ///
    /// It writes a MiB, or what the socket takes, and lets other tasks run before it goes on. What is copied is copied at
    /// once: plain memory over unix, which goes into a segment, and borrowed memory over inproc.
    ///
    /// # Errors
    /// The same.
    pub async fn send(&mut self, message: &Message<'_>) -> Result<Transfer, Error> {
        self.send_tagged(message, Tag::default()).await
    }

    /// As [`Self::send`], on a channel or as an answer.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn send_tagged(
        &mut self,
        message: &Message<'_>,
        tag: Tag,
    ) -> Result<Transfer, Error> {
        self.connection.check_size(message)?;
        self.driver.send(message, tag, self.timeouts[0]).await
    }

    /// As [`Connection::send_all`](crate::Connection::send_all). The task waits where that call would, and lets other tasks run in
    /// between. Where it waits, what is left of a small message is copied.
    ///
    /// ```
    /// # mod numpush { pub use numpush_message::*; pub use numpush_transports::*; }
    /// use numpush::{Buffer, Message, aio};
    ///
    /// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    /// # runtime.block_on(async {
    /// let mut listener = aio::listen("inproc:aio send_all")?;
    /// let mut tx = aio::connect(&listener.address()).await?;
    /// let mut rx = listener.accept().await?;
    /// let ticks = [1_u8, 2, 3].map(|tick| Message::new(Buffer::from(vec![tick; 64])));
    /// assert_eq!(tx.send_all(&ticks).await?.count, 3);
    /// for tick in &ticks {
    ///     assert_eq!(rx.recv().await?.message, *tick);
    /// }
    /// # Ok::<(), numpush::Error>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// The same.
    pub async fn send_all(&mut self, messages: &[Message<'_>]) -> Result<Batch, BatchError> {
        self.send_all_tagged(messages, Tag::default()).await
    }

    /// As [`Self::send_all`], on a channel or as answers.
    ///
    /// # Errors
    /// As [`Self::send_all`].
    pub async fn send_all_tagged(
        &mut self,
        messages: &[Message<'_>],
        tag: Tag,
    ) -> Result<Batch, BatchError> {
        self.connection.check_sizes(messages)?;
        let timeout = self.timeouts[0];
        self.driver.send_all(messages, tag, timeout).await
    }

    /// As [`Connection::recv`](crate::Connection::recv). The task waits where that call would, and a second for room before it
    /// reports [`Error::NoRoom`]: another task may make some.
    ///
    /// # Errors
    /// The same.
    pub async fn recv(&mut self) -> Result<Received, Error> {
        self.driver.recv(self.timeouts[1]).await
    }

    /// The messages that come, until the peer closes. As [`Connection::messages`](crate::Connection::messages).
    ///
    /// ```
    /// # mod numpush { pub use numpush_message::*; pub use numpush_transports::*; }
    /// use numpush::{Buffer, Message, aio};
    ///
    /// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    /// # runtime.block_on(async {
    /// let mut listener = aio::listen("inproc:aio messages")?;
    /// let mut tx = aio::connect(&listener.address()).await?;
    /// for text in ["one", "two"] {
    ///     tx.send(&Message::new(Buffer::copy_of(text.as_bytes()))).await?;
    /// }
    /// drop(tx);
    /// let mut rx = listener.accept().await?;
    /// let mut messages = rx.messages();
    /// let mut count = 0;
    /// while let Some(received) = messages.next().await {
    ///     count += received?.message.as_bytes().unwrap().len();
    /// }
    /// assert_eq!(count, 6);
    /// # Ok::<(), numpush::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn messages(&mut self) -> Messages<'_> {
        Messages {
            connection: self,
            has_ended: false,
        }
    }

    /// As [`Connection::try_recv`](crate::Connection::try_recv): it does not wait.
    ///
    /// # Errors
    /// The same.
    pub fn try_recv(&mut self) -> Result<Received, Error> {
        self.driver.try_recv()
    }

    /// As [`Connection::try_send`](crate::Connection::try_send): it does not wait. What the socket does not take at once goes
    /// with later calls, or by itself if none comes.
    ///
    /// # Errors
    /// The same.
    pub fn try_send(&mut self, message: &Message<'_>) -> Result<Transfer, Error> {
        self.connection.check_size(message)?;
        self.driver.try_send(message, Tag::default())
    }

    /// As [`Connection::try_send_all`](crate::Connection::try_send_all), and as [`Self::try_send`].
    ///
    /// # Errors
    /// The same.
    pub fn try_send_all(&mut self, messages: &[Message<'_>]) -> Result<Batch, BatchError> {
        self.connection.check_sizes(messages)?;
        self.driver.try_send_all(messages)
    }

    /// As [`Connection::flush`](crate::Connection::flush).
    ///
    /// # Errors
    /// The same.
    pub async fn flush(&mut self) -> Result<(), Error> {
        self.driver.flush(self.timeouts[0]).await
    }

    /// As [`Connection::close`](crate::Connection::close).
    ///
    /// # Errors
    /// The same.
    pub async fn close(self) -> Result<(), Error> {
        self.driver.close_sending(self.timeouts[0]).await
    }

    /// As [`Connection::close_sending`](crate::Connection::close_sending): what the peer still sends can be received.
    ///
    /// # Errors
    /// The same.
    pub async fn close_sending(&mut self) -> Result<(), Error> {
        self.driver.close_sending(self.timeouts[0]).await
    }

    /// Takes the connection apart into its two directions, for two tasks. It costs no descriptor.
    ///
    /// ```
    /// # mod numpush { pub use numpush_message::*; pub use numpush_transports::*; }
    /// use numpush::{Buffer, Message, aio};
    ///
    /// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    /// # runtime.block_on(async {
    /// let mut listener = aio::listen("tcp://127.0.0.1:0")?;
    /// let (mut tx, mut rx) = aio::connect(&listener.address()).await?.split();
    /// let mut echo = listener.accept().await?;
    /// let answers = tokio::spawn(async move { rx.recv().await });
    /// tx.send(&Message::new(Buffer::copy_of(b"there and back"))).await?;
    /// let message = echo.recv().await?.message;
    /// echo.send(&message).await?;
    /// assert_eq!(answers.await.unwrap()?.message, message);
    /// # Ok::<(), numpush::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn split(self) -> (SendHalf, RecvHalf) {
        let max_message = self.connection.max_message();
        let [send, recv] = self.timeouts;
        (
            SendHalf::new(Arc::clone(&self.driver), max_message, send),
            RecvHalf::new(self.driver, recv),
        )
    }

    /// How long send, flush and close wait for the peer, and how long recv waits for a message; as
    /// [`Connection::set_timeouts`](crate::Connection::set_timeouts). `tokio::time::timeout` works too, and says less about
    /// a message that was being sent.
    pub fn set_timeouts(&mut self, send: Option<Duration>, recv: Option<Duration>) {
        self.timeouts = [send, recv];
    }

    /// True if [`Self::try_recv`] may return a message though nothing is to be read.
    pub fn has_input(&self) -> bool {
        self.connection.has_input()
    }

    /// What waits on this connection, in both directions.
    pub fn status(&self) -> Status {
        self.connection.status()
    }

    /// What the transport can do.
    pub fn capabilities(&self) -> Capabilities {
        self.connection.capabilities()
    }

    /// Who is on the other side.
    pub fn peer(&self) -> &str {
        self.connection.peer()
    }
}

impl TryFrom<connection::Connection> for Connection {
    type Error = Error;

    /// As [`Self::new`].
    fn try_from(connection: connection::Connection) -> Result<Self, Error> {
        Self::new(connection)
    }
}

impl From<Connection> for connection::Connection {
    /// As [`Connection::into_blocking`].
    fn from(connection: Connection) -> Self {
        connection.into_blocking()
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("peer", &self.peer())
            .finish_non_exhaustive()
    }
}

/// The messages of a connection, made by [`Connection::messages`].
#[derive(Debug)]
pub struct Messages<'c> {
    connection: &'c mut Connection,
    has_ended: bool,
}

impl Messages<'_> {
    /// The next message, or a recoverable error, after which the next call is a new attempt. `None` after the last message,
    /// and after an error that is not recoverable. Dropped, it loses no message.
    pub async fn next(&mut self) -> Option<Result<Received, Error>> {
        if self.has_ended {
            return None;
        }
        let result = self.connection.recv().await;
        self.has_ended = result.as_ref().is_err_and(|error| !error.is_recoverable());
        match result {
            Err(error) if error.is_closed() => None,
            result => Some(result),
        }
    }
}
