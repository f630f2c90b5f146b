use std::fmt;

/// What moving one message cost on this side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Transfer {
    /// Payload bytes: the buffers and the padding between them.
    pub bytes: u64,
    /// Payload bytes that our own code copied in user space, building the message included. The kernel's copies at a
    /// socket are not in here; the path tells of them.
    pub copied: u64,
    /// System calls made for it. Zero where a runtime that is not ours makes them.
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
    /// sendmsg(2) from where the data lie: the kernel copies.
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
    /// Frames given to, or taken from, a ZeroMQ runtime, which copies them to and from its own buffers.
    Frames,
}

/// Why a path was taken.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PathReason {
    /// It is the only one the medium has.
    #[default]
    OnlyWay,
    /// The memory has no descriptor behind it.
    PlainMemory,
    /// The memory has a descriptor and cannot change while the peer reads it.
    StableDescriptor,
    /// The memory has a descriptor, and on one machine a write is faster than sendfile.
    SameHost,
    /// The payload is too small for more than a plain write.
    Small,
    /// The receiver still holds all segments the sender may have.
    SegmentsHeld,
    /// No segment could be made (descriptors or memory are short).
    NoSegment,
    /// The peer belongs to another user, whose memory is not trusted to stay still.
    ForeignUser,
    /// The file could be truncated under a mapping.
    NotImmutable,
    /// The file is sealed or immutable.
    Immutable,
    /// The frames lie as they must.
    Aligned,
    /// The frames do not lie as they must, or the caller chose where they land.
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
            Self::Frames => "frames",
        }
    }
}

impl PathReason {
    /// The reason in a few words, as the command line prints it.
    pub fn name(self) -> &'static str {
        match self {
            Self::OnlyWay => "only way of the medium",
            Self::PlainMemory => "plain memory",
            Self::StableDescriptor => "stable memory behind a descriptor",
            Self::SameHost => "faster than sendfile on one machine",
            Self::Small => "too small for more",
            Self::SegmentsHeld => "receiver holds all segments",
            Self::NoSegment => "no segment to be had",
            Self::ForeignUser => "peer of another user",
            Self::NotImmutable => "file can be truncated",
            Self::Immutable => "file cannot change",
            Self::Aligned => "aligned as received",
            Self::Allocator => "into the allocator",
            Self::Borrowed => "borrowed memory",
        }
    }
}

impl fmt::Display for Transfer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
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
