use std::time::Duration;

use numpush_message::{BufferAllocator, Message};
use numpush_transports::{Acceptor, AllocatorFactory, Capabilities, Received, Transfer, Transport};

use crate::error::Error;

/// A two-way connection that moves messages; what it can do depends on its transport and stands in [`Self::capabilities`].
///
/// Messages arrive whole, in order and at most once. Dropping the connection closes it: what was sent is still
/// delivered if the peer takes it within two seconds; to know that it was, call [`Self::close`].
#[derive(Debug)]
pub struct Connection {
    link: Box<dyn Transport>,
}

impl Connection {
    pub(crate) fn new(link: Box<dyn Transport>) -> Self {
        Self { link }
    }

    /// Sends a message and tells what that cost. The message stays the caller's, whatever happens.
    ///
    /// On return its borrowed buffers are free again; shared ones are held as long as the medium reads them. It does
    /// not wait for the peer to have it all: see [`Self::flush`].
    ///
    /// # Errors
    /// [`Error::Transport`]: too large, timed out, or the peer is gone. A message too large harms nothing.
    pub fn send(&mut self, message: &Message<'_>) -> Result<Transfer, Error> {
        Ok(self.link.send(message)?)
    }

    /// Receives the next message.
    ///
    /// # Errors
    /// [`Error::Transport`], with [`Closed`](crate::TransportError::Closed) after the last message.
    pub fn recv(&mut self) -> Result<Received, Error> {
        Ok(self.link.recv()?)
    }

    /// Waits until the peer has every message sent.
    ///
    /// # Errors
    /// [`Error::Transport`], with [`Unsupported`](crate::TransportError::Unsupported) where there is no way back.
    pub fn flush(&mut self) -> Result<(), Error> {
        Ok(self.link.flush()?)
    }

    /// Waits until the peer has every message sent, where there is a way back, and tells it that no more come.
    ///
    /// # Errors
    /// [`Error::Transport`] if that fails; some messages may not have arrived then.
    pub fn close(mut self) -> Result<(), Error> {
        Ok(self.link.close()?)
    }

    /// How long send, flush and close wait for the peer, and how long recv does. `None`, the default, waits for ever.
    pub fn set_timeouts(&mut self, send: Option<Duration>, recv: Option<Duration>) {
        self.link.set_timeouts(send, recv);
    }

    /// What the transport can do.
    pub fn capabilities(&self) -> Capabilities {
        self.link.capabilities()
    }

    /// Who is on the other side.
    pub fn peer(&self) -> &str {
        self.link.peer()
    }
}

/// A place where connections arrive.
#[derive(Debug)]
pub struct Listener {
    acceptor: Box<dyn Acceptor>,
}

impl Listener {
    pub(crate) fn new(acceptor: Box<dyn Acceptor>) -> Self {
        Self { acceptor }
    }

    /// Received payloads land in `allocator`, of which every connection gets a clone. The default is the heap.
    #[must_use]
    pub fn allocator<L: BufferAllocator + Clone + 'static>(mut self, allocator: L) -> Self {
        self.acceptor
            .set_allocators(AllocatorFactory::new(move || allocator.clone()));
        self
    }

    /// Waits for the next connection.
    ///
    /// # Errors
    /// [`Error::Transport`]; a [`Handshake`](crate::TransportError::Handshake) tells of one peer that failed, and
    /// the next call waits for the others.
    pub fn accept(&mut self) -> Result<Connection, Error> {
        Ok(Connection::new(self.acceptor.accept(None)?))
    }

    /// Waits for the next connection for at most `timeout`.
    ///
    /// # Errors
    /// As [`Self::accept`], and [`Timeout`](crate::TransportError::Timeout).
    pub fn accept_for(&mut self, timeout: Duration) -> Result<Connection, Error> {
        Ok(Connection::new(self.acceptor.accept(Some(timeout))?))
    }

    /// Where it listens, with the port the kernel chose; another process can connect to it as it stands.
    pub fn address(&self) -> String {
        self.acceptor.address()
    }
}
