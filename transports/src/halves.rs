//! A connection in the hands of more than one thread.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use numpush_message::Message;
use numpush_session::Tag;

use crate::batch::{Batch, BatchError};
use crate::deadline::Deadline;
use crate::error::Error;
use crate::options::Options;
use crate::origin::Origin;
use crate::status::Status;
use crate::transfer::{Received, Transfer};
use crate::transport::{Context, Duplex};

/// The sending direction of a connection, made by [`Connection::split`](crate::Connection::split).
///
/// The connection ends when both halves are dropped.
pub struct SendHalf {
    duplex: Arc<dyn Duplex>,
    options: Options,
    peer: String,
    origin: Origin,
}

impl SendHalf {
    pub(crate) fn new(duplex: Arc<dyn Duplex>, options: Options, peer: String) -> Self {
        Self {
            duplex,
            options,
            peer,
            origin: Origin::here(),
        }
    }

    /// As [`Connection::send`](crate::Connection::send).
    ///
    /// # Errors
    /// The same.
    pub fn send(&mut self, message: &Message<'_>) -> Result<Transfer, Error> {
        self.send_tagged(message, Tag::default())
    }

    /// As [`Connection::send_tagged`](crate::Connection::send_tagged).
    ///
    /// # Errors
    /// The same.
    pub fn send_tagged(&mut self, message: &Message<'_>, tag: Tag) -> Result<Transfer, Error> {
        Context::check_size(message.payload_len(), self.options.max_message, "this side")?;
        self.duplex.send(message, tag, self.deadline()?)
    }

    /// As [`Connection::send_all`](crate::Connection::send_all).
    ///
    /// # Errors
    /// The same.
    pub fn send_all(&mut self, messages: &[Message<'_>]) -> Result<Batch, BatchError> {
        self.send_all_tagged(messages, Tag::default())
    }

    /// As [`Connection::send_all_tagged`](crate::Connection::send_all_tagged).
    ///
    /// # Errors
    /// The same.
    pub fn send_all_tagged(
        &mut self,
        messages: &[Message<'_>],
        tag: Tag,
    ) -> Result<Batch, BatchError> {
        Context::check_sizes(messages, self.options.max_message)?;
        let nothing = |error| Batch::default().error(error);
        let deadline = self.deadline().map_err(nothing)?;
        self.duplex.send_all(messages, tag, deadline)
    }

    /// As [`Connection::flush`](crate::Connection::flush).
    ///
    /// # Errors
    /// The same.
    pub fn flush(&mut self) -> Result<(), Error> {
        self.duplex.flush(self.deadline()?)
    }

    /// As [`Connection::close_sending`](crate::Connection::close_sending): the other half can still receive.
    ///
    /// # Errors
    /// The same.
    pub fn close(self) -> Result<(), Error> {
        self.duplex.close_sending(self.deadline()?)
    }

    /// Longest wait of each call; `None` waits forever.
    pub fn set_timeout(&mut self, timeout: Option<Duration>) {
        self.options.send_timeout = timeout;
    }

    /// What waits on the connection.
    pub fn status(&self) -> Status {
        self.duplex.status()
    }

    /// Who is on the other side.
    pub fn peer(&self) -> &str {
        &self.peer
    }

    /// When the call that begins must have returned.
    fn deadline(&self) -> Result<Deadline, Error> {
        self.origin.check(&self.peer)?;
        Ok(Deadline::after(self.options.send_timeout))
    }
}

/// The receiving direction of a connection, made by [`Connection::split`](crate::Connection::split).
pub struct RecvHalf {
    duplex: Arc<dyn Duplex>,
    options: Options,
    peer: String,
    origin: Origin,
}

impl RecvHalf {
    pub(crate) fn new(duplex: Arc<dyn Duplex>, options: Options, peer: String) -> Self {
        Self {
            duplex,
            options,
            peer,
            origin: Origin::here(),
        }
    }

    /// As [`Connection::recv`](crate::Connection::recv).
    ///
    /// # Errors
    /// The same.
    pub fn recv(&mut self) -> Result<Received, Error> {
        self.origin.check(&self.peer)?;
        let deadline = Deadline::after(self.options.recv_timeout);
        Arc::clone(&self.duplex).recv(deadline)
    }

    /// Longest wait for a message; `None` waits forever.
    pub fn set_timeout(&mut self, timeout: Option<Duration>) {
        self.options.recv_timeout = timeout;
    }

    /// What waits on the connection.
    pub fn status(&self) -> Status {
        self.duplex.status()
    }

    /// Who is on the other side.
    pub fn peer(&self) -> &str {
        &self.peer
    }
}

/// Ends calls of a connection from another thread, made by [`Connection::canceller`](crate::Connection::canceller).
///
/// ```
/// # use numpush_transports as numpush;
/// let mut listener = numpush::listen("tcp://127.0.0.1:0")?;
/// let mut client = numpush::connect(&listener.address())?;
/// let _server = listener.accept()?;
/// let canceller = client.canceller()?;
/// std::thread::spawn(move || canceller.cancel());
/// let error = client.recv().unwrap_err();
/// assert!(matches!(error, numpush::Error::Cancelled { .. }) && error.is_recoverable());
/// # Ok::<(), numpush::Error>(())
/// ```
#[derive(Clone)]
pub struct Canceller(Weak<dyn Duplex>);

impl Canceller {
    pub(crate) fn new(duplex: &Arc<dyn Duplex>) -> Self {
        Self(Arc::downgrade(duplex))
    }

    /// Ends the call that waits, or else the next one that would, with [`Error::Cancelled`]. The connection stays as it is.
    ///
    /// It does nothing once the connection is dropped.
    pub fn cancel(&self) {
        if let Some(duplex) = self.0.upgrade() {
            duplex.cancel();
        }
    }
}

impl fmt::Debug for SendHalf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("SendHalf");
        debug.field("peer", &self.peer).finish_non_exhaustive()
    }
}

impl fmt::Debug for RecvHalf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("RecvHalf");
        debug.field("peer", &self.peer).finish_non_exhaustive()
    }
}

impl fmt::Debug for Canceller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Canceller").finish_non_exhaustive()
    }
}
