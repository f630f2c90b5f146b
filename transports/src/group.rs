//! One message to many.

use std::time::Duration;

use numpush_message::{Message, Prepared};

use crate::connection::Connection;
use crate::error::Error;
use crate::poller::{Event, Key, Poller, Sent};
#[cfg(feature = "unix")]
use crate::unix::SharedCopies;

/// Receivers of the same messages.
///
/// A message is built once, and its payload is not copied for a receiver but as its transport needs it: shared buffers
/// are held, and written from where they are; memory with a descriptor is passed to every unix receiver without a copy.
/// Plain memory is copied once for all unix receivers together, into memory that is used again when the last of them has let
/// go of it; the [`Transfer`](crate::Transfer) of the first one counts that copy. Buffers of less than 64 KiB, and plain buffers
/// beside some with a descriptor, are copied for each. So is what finds no room in that memory, which has at most
/// [`Options::segment_budget`](crate::Options::segment_budget) bytes (the least of the receivers'), or a receiver that cannot map
/// it: one of another user, or with checksums. The header is encoded once, and the payload summed once, for all receivers that
/// begin the message at once; a message that waits in a queue is encoded anew when it goes.
///
/// A receiver that is slow or dead holds up nobody: what it does not take waits in its queue, up to a limit, and the outcome
/// of each send says so for each receiver. What is queued goes with later sends and in [`Self::wait`].
///
/// ```
/// # mod numpush { pub use numpush_message::*; pub use numpush_transports::*; }
/// use numpush::{Buffer, Group, Message};
///
/// let mut listener = numpush::listen("tcp://127.0.0.1:0")?;
/// let mut group = Group::new()?;
/// let mut receivers = Vec::new();
/// for _ in 0..3 {
///     receivers.push(numpush::connect(&listener.address())?);
///     group.add(listener.accept()?)?;
/// }
/// for outcome in group.send(&Message::new(Buffer::copy_of(b"to all"))) {
///     outcome.result?;
/// }
/// for receiver in &mut receivers {
///     assert_eq!(receiver.recv()?.message.as_bytes().unwrap()[..], *b"to all");
/// }
/// # Ok::<(), numpush::Error>(())
/// ```
#[derive(Debug)]
pub struct Group {
    poller: Poller,
    /// Plain bytes, once for all unix receivers.
    #[cfg(feature = "unix")]
    copies: SharedCopies<Key>,
}

/// A message in memory that these receivers can map.
type Copied = (Message<'static>, Vec<Key>);

/// What became of a message at one receiver of a [`Group`].
#[non_exhaustive]
#[derive(Debug)]
pub struct Outcome {
    /// The receiver.
    pub key: Key,
    /// How far the message has come, or why it does not go there. After an error that is recoverable, such as
    /// [`Error::QueueFull`], or after [`Error::Closed`], the receiver stays in the group without this message; after another
    /// one it ends, and [`Event::Ended`] follows.
    pub result: Result<Sent, Error>,
}

impl Group {
    /// A group without receivers.
    ///
    /// # Errors
    /// As [`Poller::new`].
    pub fn new() -> Result<Self, Error> {
        Ok(Self {
            poller: Poller::new()?,
            #[cfg(feature = "unix")]
            copies: SharedCopies::new(),
        })
    }

    /// As [`Poller::set_queue_limit`]: bytes that may wait for each receiver.
    pub fn set_queue_limit(&mut self, bytes: u64) {
        self.poller.set_queue_limit(bytes);
    }

    /// Adds a receiver.
    ///
    /// # Errors
    /// As [`Poller::add`].
    pub fn add(&mut self, connection: Connection) -> Result<Key, Error> {
        self.poller.add(connection)
    }

    /// Sends a message to every receiver, without a wait.
    pub fn send(&mut self, message: &Message<'_>) -> Vec<Outcome> {
        let keys = self.poller.connections();
        let Ok(prepared) = Prepared::new(message) else {
            // Each of them says what is wrong with it.
            let send = |key| (key, self.poller.send(key, message));
            let sent = keys.into_iter().map(send);
            return sent.map(|(key, result)| Outcome { key, result }).collect();
        };
        let copy = self.copy_once(&prepared, &keys);
        let (copy, mappers) = copy.map_or((None, Vec::new()), |(copy, to)| (Some(copy), to));
        let moved = copy.as_ref().and_then(|copy| prepared.moved(copy));
        let mut copied = moved.as_ref().map_or(0, |_| message.payload_len());
        let mut mappers = mappers.into_iter().peekable();
        let mut outcomes = Vec::new();
        for key in keys {
            let maps = mappers.next_if_eq(&key).is_some();
            let moved = moved.as_ref().filter(|_| maps);
            let mut result = self.poller.send_prepared(key, moved.unwrap_or(&prepared));
            if let Ok(Sent::Begun(transfer)) = &mut result
                && moved.is_some()
            {
                // The first one answers for the copy.
                transfer.copied += std::mem::take(&mut copied);
            }
            outcomes.push(Outcome { key, result });
        }
        outcomes
    }

    /// The message in memory that several receivers can map, and who they are, in order. `None` if there is none.
    #[cfg(feature = "unix")]
    fn copy_once(&mut self, prepared: &Prepared<'_>, keys: &[Key]) -> Option<Copied> {
        if !self.copies.suits(prepared.message()) {
            return None;
        }
        let poller = &self.poller;
        let lent = keys.iter().map(|&key| (key, poller.lends(key)));
        let lent: Vec<(Key, u64)> = lent.filter(|&(_, bytes)| bytes > 0).collect();
        // No receiver may have more of it than its connection allows.
        let budget = lent.iter().map(|&(_, bytes)| bytes).min()?;
        let mappers: Vec<Key> = lent.into_iter().map(|(key, _)| key).collect();
        if mappers.len() < 2 {
            return None;
        }
        let is_there = |&key: &Key| poller.contains(key);
        let copy = self
            .copies
            .copy(prepared, mappers.clone(), budget, is_there)?;
        Some((copy, mappers))
    }

    /// Without unix sockets nobody maps memory of ours.
    #[cfg(not(feature = "unix"))]
    #[expect(clippy::unused_self, reason = "it is a call of unix receivers")]
    fn copy_once(&self, _: &Prepared<'_>, _: &[Key]) -> Option<Copied> {
        None
    }

    /// Sends what is queued, and returns the next thing that happens: a receiver that has ended, or a message of one. `None`
    /// if nothing happens within `timeout`.
    ///
    /// # Errors
    /// As [`Poller::wait`].
    pub fn wait(&mut self, timeout: impl Into<Option<Duration>>) -> Result<Option<Event>, Error> {
        self.poller.wait(timeout)
    }

    /// The connections of the group, to remove one, or to see what waits for it.
    pub fn poller(&mut self) -> &mut Poller {
        &mut self.poller
    }
}
