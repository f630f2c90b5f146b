//! What a poller reports.

use numpush_message::Message;

use crate::connection::Connection;
use crate::error::Error;
use crate::poller::slots::Key;
use crate::transfer::{Received, Transfer};

/// What has happened at one of the connections or listeners of a [`Poller`](crate::Poller).
#[non_exhaustive]
#[derive(Debug)]
pub enum Event {
    /// A peer has connected. Its connection is in the poller.
    Connected {
        /// The connection.
        key: Key,
        /// Where it came.
        listener: Key,
    },
    /// A peer that came got no connection. The listener goes on.
    Rejected {
        /// Where it came.
        listener: Key,
        /// What went wrong.
        error: Error,
    },
    /// A message has come.
    Message {
        /// From whom.
        key: Key,
        /// The message.
        received: Received,
    },
    /// There is no room for the next message of a connection ([`Error::NoRoom`]). The poller tries again by itself, and says
    /// so only once until the message has come.
    Waiting {
        /// The connection.
        key: Key,
        /// How much was asked for, and how much there is.
        error: Error,
    },
    /// A message that was queued cannot be sent: the peer does not take its like. The connection goes on.
    Unsent {
        /// To whom.
        key: Key,
        /// The message.
        message: Message<'static>,
        /// Why.
        error: Error,
    },
    /// The peer sends no more messages. It may still receive some, until [`Self::Ended`] or [`Poller::remove`](crate::Poller::remove).
    Closed {
        /// The connection.
        key: Key,
    },
    /// A connection or a listener has ended and left the poller; its key is void.
    Ended {
        /// Which one it was.
        key: Key,
        /// Why, unless the peer has closed and hung up in good order.
        error: Option<Error>,
        /// Messages to the peer that it has not acknowledged, those included that had not begun.
        unacknowledged: usize,
    },
    /// A [`Waker`](crate::Waker) has ended the wait.
    Woken,
}

/// How far a message has come that was given to a [`Poller`](crate::Poller).
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It has begun. What the socket did not take at once goes by itself.
    Begun(Transfer),
    /// It waits behind others, or for the peer to take some.
    Queued,
}

/// A connection that was taken out of a [`Poller`](crate::Poller).
#[non_exhaustive]
#[derive(Debug)]
pub struct Removed {
    /// The connection.
    pub connection: Connection,
    /// Messages that had not begun.
    pub unsent: Vec<Message<'static>>,
}
