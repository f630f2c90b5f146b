//! Where connections arrive: what every transport does alike.

use std::fmt;
use std::time::Duration;

use crate::connection::Connection;
use crate::deadline::Deadline;
use crate::error::Error;
use crate::options::Options;
use crate::transport::{AcceptContext, Acceptor, Bound};

/// A place where connections arrive. It is free again when the listener is dropped.
///
/// ```
/// # use numpush_transports as numpush;
/// use std::time::Duration;
///
/// let mut listener = numpush::listen("inproc:listener")?;
/// assert_eq!(listener.address(), "inproc:listener");
/// assert!(listener.accept_for(Duration::ZERO).unwrap_err().is_timeout());
/// let _sender = numpush::connect(&listener.address())?;
/// let receiver = listener.accept()?;
/// assert_eq!(receiver.peer(), "inproc:listener");
/// # Ok::<(), numpush::Error>(())
/// ```
pub struct Listener {
    acceptor: Box<dyn Acceptor>,
    options: Options,
    address: String,
}

impl Listener {
    pub(crate) fn new(bound: Bound, options: Options) -> Self {
        Self {
            acceptor: bound.acceptor,
            options,
            address: bound.address,
        }
    }

    /// Waits for the next connection.
    ///
    /// # Errors
    /// [`Error::Handshake`] if one peer failed: the next call waits for the others. [`Error::Unsupported`] if this
    /// listener has no second connection: a ZeroMQ socket is one connection for all its peers.
    pub fn accept(&mut self) -> Result<Connection, Error> {
        self.accept_until(Deadline::after(None))
    }

    /// Waits for the next connection for at most `timeout`. Zero polls: a connection that is there is returned.
    ///
    /// # Errors
    /// As [`Self::accept`], and [`Error::Timeout`].
    pub fn accept_for(&mut self, timeout: Duration) -> Result<Connection, Error> {
        self.accept_until(Deadline::after(timeout))
    }

    /// The connections that come. An error is an item, and the next item is a new attempt. It ends only where the
    /// listener has no further connection ([`Error::Unsupported`], which is no item).
    ///
    /// ```
    /// # use numpush_transports as numpush;
    /// let mut listener = numpush::listen("inproc:incoming")?;
    /// let _senders = [numpush::connect(&listener.address())?, numpush::connect(&listener.address())?];
    /// for connection in listener.incoming().take(2) {
    ///     let connection = connection?;
    ///     std::thread::spawn(move || drop(connection));
    /// }
    /// # Ok::<(), numpush::Error>(())
    /// ```
    pub fn incoming(&mut self) -> Incoming<'_> {
        Incoming { listener: self }
    }

    /// Where it listens, with the port the kernel chose. Another process can connect to it as it is.
    pub fn address(&self) -> String {
        self.address.clone()
    }

    fn accept_until(&mut self, deadline: Deadline) -> Result<Connection, Error> {
        let cx = AcceptContext {
            address: &self.address,
            deadline,
        };
        let established = self.acceptor.accept(&cx)?;
        Ok(Connection::new(established, self.options.clone()))
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// The connections of a listener, made by [`Listener::incoming`].
#[derive(Debug)]
pub struct Incoming<'l> {
    listener: &'l mut Listener,
}

impl Iterator for Incoming<'_> {
    type Item = Result<Connection, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.listener.accept() {
            Err(Error::Unsupported { .. }) => None,
            result => Some(result),
        }
    }
}
