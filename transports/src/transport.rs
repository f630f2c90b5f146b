use std::fmt;
use std::ops::Deref;
use std::time::Duration;

use numpush_message::{BufferAllocator, HeapAllocator, Message};

use crate::error::Error;
use crate::transfer::Transfer;

/// A two-way connection that moves messages.
///
/// Messages arrive whole, in order and at most once, or not at all. After an error for which [`Error::is_recoverable`]
/// is false the link is of no more use.
pub trait Transport: Send + fmt::Debug {
    /// Sends a message. On return its borrowed buffers are free again; shared ones are held as long as the medium
    /// reads them. It does not wait for the peer: see [`Self::flush`].
    ///
    /// # Errors
    /// [`Error::TooLarge`] and [`Error::Message`] before anything is sent; [`Error::Timeout`] if the peer took nothing
    /// for as long as the send timeout; [`Error::Disconnected`] if it is gone.
    fn send(&mut self, message: &Message<'_>) -> Result<Transfer, Error>;

    /// Receives the next message.
    ///
    /// # Errors
    /// [`Error::Closed`] after the last message; [`Error::Timeout`]; [`Error::Disconnected`] if the peer is gone
    /// without a word; [`Error::InvalidMessage`] if it sent something that is no message.
    fn recv(&mut self) -> Result<Received, Error>;

    /// Waits until the peer has acknowledged every message sent.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where the medium has no way back; else as [`Self::send`].
    fn flush(&mut self) -> Result<(), Error>;

    /// Waits as [`Self::flush`] does where it can, then tells the peer that nothing more comes.
    ///
    /// # Errors
    /// As [`Self::flush`].
    fn close(&mut self) -> Result<(), Error>;

    /// How long [`Self::send`], [`Self::flush`] and [`Self::close`] wait for the peer, and how long [`Self::recv`]
    /// does; `None` waits for ever.
    fn set_timeouts(&mut self, send: Option<Duration>, recv: Option<Duration>);

    /// What the medium can do.
    fn capabilities(&self) -> Capabilities;

    /// Who is on the other side.
    fn peer(&self) -> &str;
}

/// A place where links arrive.
pub trait Acceptor: Send + fmt::Debug {
    /// Waits for the next link whose handshake is done; `None` for the timeout waits for ever.
    ///
    /// A peer that dawdles, or that sends something else, holds up nobody.
    ///
    /// # Errors
    /// [`Error::Handshake`] tells of one peer that failed: call again for the others. [`Error::Timeout`].
    fn accept(&mut self, timeout: Option<Duration>) -> Result<Box<dyn Transport>, Error>;

    /// Where the payloads of links accepted from now on land.
    fn set_allocators(&mut self, allocators: AllocatorFactory);

    /// Where it listens, with the port the kernel chose.
    fn address(&self) -> String;
}

/// Makes the allocator of each link.
pub struct AllocatorFactory(Box<dyn Fn() -> Box<dyn BufferAllocator> + Send>);

impl AllocatorFactory {
    /// A allocator of its own for every link.
    pub fn new<L: BufferAllocator + 'static>(make: impl Fn() -> L + Send + 'static) -> Self {
        Self(Box::new(move || Box::new(make())))
    }

    /// The next link's allocator.
    pub fn make(&self) -> Box<dyn BufferAllocator> {
        (self.0)()
    }
}

impl Default for AllocatorFactory {
    fn default() -> Self {
        Self::new(HeapAllocator::new)
    }
}

impl fmt::Debug for AllocatorFactory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AllocatorFactory")
    }
}

/// What a medium can do.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// The peer can answer on the same link.
    pub two_way: bool,
    /// [`Transport::flush`] waits until the peer has the messages.
    pub acknowledges: bool,
    /// A peer that dies is noticed by whoever waits for it.
    pub notices_death: bool,
    /// A message too large is refused before a byte of it is stored.
    pub limits_size: bool,
    /// Memory behind a descriptor is passed, not moved.
    pub passes_descriptors: bool,
}

/// A message and what it cost to receive it.
#[derive(Debug)]
pub struct Received {
    /// The message; it owns its buffers.
    pub message: Message<'static>,
    /// What it cost.
    pub transfer: Transfer,
}

impl Deref for Received {
    type Target = Message<'static>;

    fn deref(&self) -> &Message<'static> {
        &self.message
    }
}
