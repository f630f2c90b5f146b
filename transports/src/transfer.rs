//! What calls report: what a message cost, and what a medium can do.

use std::fmt;

use numpush_message::Message;
use numpush_session::{Receipt, Tag};

/// What moving one message cost on this side.
///
/// Every [`Connection::send`](crate::Connection::send) returns one, and every [`Received`] has one.
///
/// ```
/// # mod numpush { pub use numpush_message::*; pub use numpush_transports::*; }
/// use numpush::{Buffer, Message, TransferPath};
///
/// let listener = numpush::listen("inproc:transfer")?;
/// let mut tx = numpush::connect(&listener.address())?;
/// let shared = tx.send(&Message::new(Buffer::from(vec![7; 64])))?;
/// assert_eq!((shared.bytes, shared.copied), (64, 0));
/// assert_eq!(shared.path, TransferPath::Handover);
/// let borrowed = tx.send(&Message::new(Buffer::borrowed(&[7; 64])))?;
/// assert_eq!((borrowed.bytes, borrowed.copied), (64, 64));
/// # Ok::<(), numpush::Error>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Transfer {
    /// Number of the message in its direction, from 1; 0 where the medium does not number them.
    pub id: u64,
    /// Payload bytes: the buffers and the padding between them.
    pub bytes: u64,
    /// Payload bytes that our own code copied in user space, building the message included. The kernel's copies at a
    /// socket do not count: the path shows them.
    pub copied: u64,
    /// System calls that moved it; a wait for the peer (poll) counts as none.
    pub system_calls: u32,
    /// How most of the payload went.
    pub path: TransferPath,
    /// Why that way.
    pub reason: PathReason,
}

/// How a payload moves.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TransferPath {
    /// The message itself was handed over.
    #[default]
    Handover,
    /// sendmsg(2) from where the data are: the kernel copies.
    Write,
    /// sendfile(2): the kernel sends the pages themselves.
    SendFile,
    /// recv(2) into the allocator: the kernel copies.
    Read,
    /// Only a reference into a segment that both sides map.
    Reference,
    /// Copied by us into a segment that both sides map.
    SegmentCopy,
    /// A mapped file.
    Map,
}

/// Why a path was taken.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PathReason {
    /// It is the only one the medium has.
    #[default]
    OnlyWay,
    /// The memory has no descriptor.
    PlainMemory,
    /// The memory has a descriptor and cannot change while the peer reads it.
    StableDescriptor,
    /// The memory has a descriptor, and on one machine a write is faster than sendfile.
    SameHost,
    /// The payload is too small for more than a plain write.
    Small,
    /// The receiver still holds all segments that the sender may make.
    SegmentsHeld,
    /// No segment could be made: descriptors or memory are short.
    NoSegment,
    /// The peer belongs to another user, who could change the memory while it is read.
    ForeignUser,
    /// The file could be truncated under a mapping.
    NotImmutable,
    /// The file is sealed or immutable.
    Immutable,
    /// The bytes had to be copied into the caller's allocator, or to where they are aligned.
    Allocator,
    /// A borrowed buffer cannot be handed over.
    Borrowed,
}

impl TransferPath {
    /// The path's name, as the command line prints it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Handover => "handover",
            Self::Write => "write",
            Self::SendFile => "sendfile",
            Self::Read => "read",
            Self::Reference => "reference",
            Self::SegmentCopy => "segment-copy",
            Self::Map => "map",
        }
    }
}

impl PathReason {
    /// The reason in a few words, as the command line prints it.
    pub fn name(self) -> &'static str {
        match self {
            Self::OnlyWay => "only way of the medium",
            Self::PlainMemory => "plain memory",
            Self::StableDescriptor => "stable memory with a descriptor",
            Self::SameHost => "faster than sendfile on one machine",
            Self::Small => "small",
            Self::SegmentsHeld => "receiver holds all segments",
            Self::NoSegment => "no segment could be made",
            Self::ForeignUser => "peer of another user",
            Self::NotImmutable => "file can be truncated",
            Self::Immutable => "file cannot change",
            Self::Allocator => "into the allocator",
            Self::Borrowed => "borrowed memory",
        }
    }
}

impl fmt::Display for Transfer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            id: _,
            bytes,
            copied,
            system_calls,
            path,
            reason,
        } = self;
        let (path, reason) = (path.name(), reason.name());
        write!(
            f,
            "{bytes} bytes by {path} ({reason}), {copied} copied by us, {system_calls} system calls"
        )
    }
}

/// A message, and what it cost to receive it.
#[non_exhaustive]
#[derive(Debug)]
pub struct Received {
    /// The message; it owns its buffers.
    pub message: Message<'static>,
    /// What it cost.
    pub transfer: Transfer,
    /// Its number among the messages of its sender, from 1; 0 where the medium does not number them.
    pub id: u64,
    /// Number of the message of ours that it answers; 0 for none.
    pub reply_to: u64,
    /// The sender's channel; 0 unless it has set one.
    pub channel: u32,
    pub(crate) confirmation: Option<Confirmation>,
}

impl Received {
    pub(crate) fn new(message: Message<'static>, transfer: Transfer) -> Self {
        Self {
            message,
            transfer,
            id: 0,
            reply_to: 0,
            channel: 0,
            confirmation: None,
        }
    }

    /// Records that the program is done with the message, so that it is acknowledged; returns the message. With
    /// [`Acknowledge::OnConfirm`](crate::Acknowledge::OnConfirm) nothing is acknowledged before this; else it changes nothing.
    pub fn confirm(self) -> Message<'static> {
        if let Some(confirmation) = self.confirmation {
            let ack = confirmation.receipt.confirm();
            (confirmation.tell)(ack);
        }
        self.message
    }

    /// The tag of an answer to this message: same channel, and its number.
    pub fn reply_tag(&self) -> Tag {
        Tag {
            reply_to: self.id,
            channel: self.channel,
        }
    }
}

/// The right to confirm a message, and how the connection hears of it.
pub(crate) struct Confirmation {
    pub(crate) receipt: Receipt,
    pub(crate) tell: Box<dyn FnOnce(u64) + Send + Sync>,
}

impl fmt::Debug for Confirmation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.receipt.fmt(f)
    }
}

/// What a medium can do.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// The peer can answer on the same connection.
    pub two_way: bool,
    /// [`Connection::flush`](crate::Connection::flush) waits until the peer has the messages.
    pub acknowledges: bool,
    /// A peer that dies is noticed by whoever waits for it.
    pub notices_death: bool,
    /// A message too large is refused before a byte of it is stored.
    pub limits_size: bool,
    /// Memory with a descriptor is passed, not moved.
    pub passes_descriptors: bool,
    /// Payloads arrive in the allocator of the [`Options`](crate::Options). Where this is false they arrive in memory of
    /// the medium's own, and an allocator that wants every payload gets a copy.
    pub fills_allocator: bool,
}
