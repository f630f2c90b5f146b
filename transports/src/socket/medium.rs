//! What a medium adds to plain bytes, and how it plans the way of a payload.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use numpush_message::{
    Backing, Buffer, BufferAllocator, DecodeError, Message, Reference, Stability,
};

use crate::transfer::{PathReason, Transfer};

/// What a medium adds to plain bytes: one half lends our memory, the other reads the peer's.
pub(crate) trait Medium: Send + 'static {
    /// True if descriptors may come with a record.
    const DESCRIPTORS: bool;

    /// True if there is a network between the two sides, which may end without a word.
    const NETWORK: bool;

    /// True if the peer gets what was written even when this side closes with unread bytes.
    const KEEPS_SENT: bool;

    type Lender: Lend;
    type Borrower: Borrow;

    fn split(self) -> (Self::Lender, Self::Borrower);
}

/// The outgoing half of a medium.
pub(crate) trait Lend: Send {
    /// Decides how the payload of a message goes, and prepares it. One plan at a time: while an earlier one is neither
    /// committed nor dropped, the message is to be written.
    fn plan(&mut self, message: &Message<'_>, terms: Terms) -> Plan;

    /// The plan's announcements and the record of message `id` were written, or will be before anything else.
    fn commit(&mut self, plan: Plan, id: u64);

    /// Segments that the peer is to forget, whether or not a message follows. They count as told.
    fn take_forgets(&mut self) -> Vec<u32> {
        Vec::new()
    }

    /// How long it pays to wait for a release before `message` is planned; `None` if there is nothing to wait for.
    fn release_wait(&mut self, _message: &Message<'_>, _terms: Terms) -> Option<Duration> {
        None
    }

    /// Bytes that memory of ours may have for the peer to map it, though we write it again later; 0 if the peer maps none.
    #[cfg(feature = "unix")]
    fn lends(&self) -> u64 {
        0
    }

    /// The peer has let go of what message `id` lent it. Releases come in any order, and acknowledge nothing.
    ///
    /// Fails if no such message was sent.
    fn released(&mut self, id: u64) -> Result<(), &'static str>;

    /// Memory of the program that is lent no longer since the last call. To drop it may run code of the program.
    fn take_returned(&mut self) -> Vec<Buffer<'static>> {
        Vec::new()
    }
}

/// The incoming half of a medium.
pub(crate) trait Borrow: Send {
    /// Takes the descriptor that came with a segment record; a record without one means to forget the segment.
    ///
    /// Fails with [`io::ErrorKind::QuotaExceeded`] if there are more than we offered to keep, and with
    /// [`io::ErrorKind::InvalidData`] if the number is wrong; else with what mapping reports.
    fn accept_segment(&mut self, segment: u32, descriptor: Option<OwnedFd>) -> io::Result<()>;

    /// The buffers of message `id`, of these lengths, that lie where `references` point, and how they got here. After an
    /// error nothing of the message is lent: it may be resolved again.
    fn resolve(
        &mut self,
        id: u64,
        lens: &[u64],
        references: &[Reference],
        allocator: &mut dyn BufferAllocator,
    ) -> Result<(Vec<Buffer<'static>>, Transfer), DecodeError>;

    /// True if the bytes of a message are copied, whatever the allocator is.
    fn copies(&self) -> bool {
        false
    }

    /// Nothing more comes: only memory that messages lie in is kept.
    fn end(&mut self) {}

    /// Messages whose ranges we have let go of since the last call.
    fn take_releases(&mut self) -> Vec<u64> {
        Vec::new()
    }
}

/// What a plan must keep to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Terms {
    /// Segments that the peer keeps mapped at once, as its hello says. One that it was told to forget counts until all of
    /// its messages are released.
    pub(crate) segments: u32,
    /// Descriptors that the peer holds at once. Each of its segments is one.
    pub(crate) descriptors: u32,
    /// The payload carries checksums.
    pub(crate) checksums: bool,
}

/// How a payload goes.
///
/// It binds nobody before it is committed. A plan that is dropped is undone: what it took is free again, and the peer is
/// taken to know of none of its announcements.
pub(crate) struct Plan {
    pub(crate) way: Way,
    /// To write first, in this order, whatever the way is.
    pub(crate) announce: Vec<Announcement>,
    /// What the medium keeps for the plan, until this is gone.
    #[cfg_attr(not(feature = "unix"), expect(dead_code, reason = "only unix lends"))]
    pub(crate) ticket: Option<Ticket>,
}

/// As long as it lives, the medium keeps what it has taken for a plan.
pub(crate) type Ticket = Arc<()>;

/// The way of a payload.
#[cfg_attr(
    not(all(feature = "tcp", feature = "unix")),
    expect(dead_code, reason = "only tcp sends files, and only unix refers")
)]
pub(crate) enum Way {
    /// By writing; the reason why.
    Write(PathReason),
    /// By sendfile for the buffers with a descriptor, by writing for the rest.
    SendFile,
    /// By reference: a place for each buffer.
    Refer {
        references: Vec<Reference>,
        copied: u64,
    },
}

/// A segment that the peer does not know yet, or, without a descriptor, one that it should forget.
#[derive(Debug)]
pub(crate) struct Announcement {
    pub(crate) segment: u32,
    pub(crate) descriptor: Option<Arc<OwnedFd>>,
}

impl Plan {
    /// A plan that takes nothing.
    pub(crate) fn new(way: Way) -> Self {
        Self {
            way,
            announce: Vec::new(),
            ticket: None,
        }
    }
}

/// Messages up to this size are acknowledged together, and buffers below it are not worth a call of their own.
pub(crate) const SMALL: u64 = 64 << 10;

/// True for buffers with a descriptor that are large enough to be worth a call of their own.
pub(crate) fn has_file(buffer: &Buffer<'_>) -> bool {
    buffer.len() as u64 >= SMALL && buffer.backing().is_some()
}

/// As [`has_file`], for sendfile(2): the kernel still has the pages after the call, so their owner may not write them again
/// once the message is let go of.
pub(crate) fn goes_by_file(buffer: &Buffer<'_>) -> bool {
    let is_stable = |backing: &Backing| backing.stability != Stability::Held;
    has_file(buffer) && buffer.backing().is_some_and(is_stable)
}
