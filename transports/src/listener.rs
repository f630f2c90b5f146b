//! Where connections arrive: what every transport does alike.

use std::fmt;
use std::os::fd::BorrowedFd;
#[cfg(feature = "tokio")]
use std::sync::Arc;
use std::time::Duration;

use crate::connection::Connection;
use crate::deadline::Deadline;
use crate::endpoint::Scheme;
use crate::error::Error;
use crate::options::Options;
use crate::status::ListenerStatus;
use crate::transport::{AcceptContext, Acceptor, Bound};
#[cfg(feature = "tokio")]
use crate::watch::Watch;

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

    /// Waits for the next connection. A peer that speaks something else, hangs up or says nothing is no error and delays
    /// nobody: [`Self::take_refused`] has it.
    ///
    /// # Errors
    /// [`Error::Io`] if the listener itself fails: its socket is gone, or for five seconds this process has had no
    /// descriptor left for a peer that waits. [`Error::Unsupported`] if this listener has no second connection: a ZeroMQ
    /// socket is one connection for all its peers.
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

    /// Returns the next connection if one is here. It never waits; [`Self::descriptor`] says when to call again.
    ///
    /// ```
    /// # use numpush_transports as numpush;
    /// let mut listener = numpush::listen("inproc:try_accept")?;
    /// assert!(listener.try_accept()?.is_none());
    /// let _sender = numpush::connect("inproc:try_accept")?;
    /// assert!(listener.try_accept()?.is_some());
    /// # Ok::<(), numpush::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Self::accept`].
    pub fn try_accept(&mut self) -> Result<Option<Connection>, Error> {
        match self.accept_for(Duration::ZERO) {
            Err(error) if error.is_timeout() => Ok(None),
            result => result.map(Some),
        }
    }

    /// A descriptor that is readable while [`Self::try_accept`] has something to do, to wait for it together with others;
    /// `None` where the medium has none. It covers connections, their handshakes and the deadlines of those, so it may be
    /// readable though no connection comes of it. In a forked child it is another one after the first call of
    /// [`Self::try_accept`].
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.acceptor.descriptor()
    }

    /// Makes the descriptor this process's own, in a forked child.
    pub(crate) fn prepare(&mut self) -> std::io::Result<()> {
        self.acceptor.prepare()
    }

    /// What rings when a connection has come, where no descriptor shows that.
    #[cfg(feature = "tokio")]
    pub(crate) fn watch(&self) -> Option<Arc<Watch>> {
        self.acceptor.watch()
    }

    /// What goes on at the listener, as the last call left it; zeros where the medium does not count.
    pub fn status(&self) -> ListenerStatus {
        self.acceptor.status()
    }

    /// Why a peer got no connection: the oldest refusal that was not asked for, of the last 16. It is an
    /// [`Error::Handshake`], which names the peer. Connections are refused in the calls that accept others.
    ///
    /// ```
    /// # use numpush_transports as numpush;
    /// use std::io::Write;
    /// use std::net::TcpStream;
    ///
    /// let mut listener = numpush::listen("tcp://127.0.0.1:0")?;
    /// let mut stranger = TcpStream::connect(listener.address().trim_start_matches("tcp://")).unwrap();
    /// stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    /// let _sender = numpush::connect(&listener.address())?;
    /// let _connection = listener.accept()?;
    /// while listener.status().refused == 0 {
    ///     listener.try_accept()?;
    /// }
    /// let why = format!("{:?}", listener.take_refused().unwrap());
    /// assert!(why.contains("HTTP"), "{why}");
    /// # Ok::<(), numpush::Error>(())
    /// ```
    pub fn take_refused(&mut self) -> Option<Error> {
        self.acceptor.take_refused()
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
        let scheme = Scheme::name_in(&self.address);
        Ok(Connection::new(established, self.options.clone(), scheme))
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
