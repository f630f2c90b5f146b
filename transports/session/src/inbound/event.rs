use numpush_message::{Header, Hello, Message, Preamble, Reference};

use crate::refusal::Refusal;

/// What a record of the peer says.
#[derive(Debug)]
pub struct Arrival<D> {
    /// The last of our messages that the peer acknowledges.
    pub ack: u64,
    /// What came.
    pub event: Event<D>,
}

/// What came.
#[non_exhaustive]
#[derive(Debug)]
pub enum Event<D> {
    /// The peer's hello: always the first event, and never another.
    Hello(Hello),
    /// A message whose payload is here.
    Message {
        /// Its preamble.
        preamble: Preamble,
        /// The message.
        message: Message<'static>,
        /// Payload bytes that were copied out of the read-ahead.
        copied: u64,
    },
    /// A message whose payload lies in segments of the peer.
    Referenced {
        /// Its preamble.
        preamble: Preamble,
        /// Its header.
        header: Header,
        /// Where each buffer lies.
        references: Vec<Reference>,
    },
    /// The peer names a segment, or forgets it.
    Segment {
        /// The number of the segment.
        number: u64,
        /// The descriptor of its memory; `None` if it is forgotten.
        descriptor: Option<D>,
    },
    /// The peer has let go of what message `id` of ours lent it.
    Released {
        /// The number of our message.
        id: u64,
    },
    /// The peer has granted this much credit in all.
    Credit {
        /// Bytes of records, since the session began.
        total: u64,
        /// Its program has taken every message of ours up to this number.
        taken: u64,
    },
    /// The peer asks whether we are there.
    Ping {
        /// To be sent back.
        argument: u64,
    },
    /// The answer to a ping of ours.
    Pong {
        /// The argument of the ping.
        argument: u64,
    },
    /// A message of a kind that we do not know and may ignore.
    Skipped {
        /// Its preamble.
        preamble: Preamble,
    },
    /// The peer sends no more messages.
    Closed,
    /// The peer will not go on.
    Refused(Refusal),
    /// A record that says nothing to us.
    Nothing,
}

/// What we owe the peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Debt {
    /// Every message up to this number is acknowledged.
    pub ack: u64,
    /// Credit granted in all.
    pub credit: u64,
    /// Every message up to this number is taken: it counts against the credit no more.
    pub taken: u64,
    /// What the peer's credit is made up to now; `None` if that is as before.
    pub promise: Option<u64>,
}
