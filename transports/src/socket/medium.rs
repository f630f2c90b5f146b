//! What a medium adds to plain bytes, and how it plans the way of a payload.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use numpush_message::{Buffer, BufferAllocator, DecodeError, Header, Message, Preamble, Reference};

use crate::transfer::{PathReason, Transfer};

/// What a medium adds to plain bytes.
pub(crate) trait Medium: Send {
    /// True if descriptors may come with a record.
    const DESCRIPTORS: bool;

    /// True if the peer gets what was written even when this side closes with unread bytes.
    const KEEPS_SENT: bool;

    /// Decides how the payload of message `id` goes, and prepares it.
    fn plan(&mut self, message: &Message<'_>, id: u64, checksums: bool) -> Plan;

    /// How long it pays to wait for a release before `message` is planned; `None` if there is nothing to wait for.
    fn release_wait(&self, _message: &Message<'_>) -> Option<Duration> {
        None
    }

    /// Takes the descriptor that came with a segment record; a record without one means to forget the segment.
    fn accept_segment(&mut self, record: &Preamble, descriptor: Option<OwnedFd>) -> io::Result<()>;

    /// The message whose buffers are where `references` point, and how it got here.
    fn resolve(
        &mut self,
        record: &Preamble,
        header: Header,
        references: &[Reference],
        allocator: &mut dyn BufferAllocator,
    ) -> Result<(Message<'static>, Transfer), DecodeError>;

    /// The peer has let go of what message `id` lent it.
    fn released(&mut self, id: u64);

    /// Messages whose ranges we have let go of since the last call.
    fn take_releases(&mut self) -> Vec<u64>;
}

/// How a payload goes.
#[cfg_attr(
    not(all(feature = "tcp", feature = "unix")),
    expect(dead_code, reason = "only tcp sends files, and only unix refers")
)]
pub(crate) enum Plan {
    /// By writing; the reason why.
    Write(PathReason),
    /// By sendfile for the buffers with a descriptor, by writing for the rest.
    SendFile,
    /// By reference: segments to announce first, then a place for each buffer.
    Refer {
        announce: Vec<Announcement>,
        references: Vec<Reference>,
        copied: u64,
    },
}

/// A segment that the peer does not know yet, or, without a descriptor, one that it should forget.
pub(crate) struct Announcement {
    pub(crate) segment: u32,
    pub(crate) descriptor: Option<Arc<OwnedFd>>,
}

/// Messages up to this size are acknowledged together, and buffers below it are not worth a call of their own.
pub(crate) const SMALL: u64 = 64 << 10;

/// Buffers with a descriptor go by sendfile if they are large enough to be worth a call of their own.
pub(crate) fn goes_by_file(buffer: &Buffer<'_>) -> bool {
    buffer.len() as u64 >= SMALL && buffer.backing().is_some()
}
