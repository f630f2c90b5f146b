//! What an owner and its clients send each other, and what an owner reports. The order of messages, and what each side
//! believes after a failure: `docs/design/0005-leases.md`.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use numpush_os::FileId;
use numpush_shm_core::{LockAddress, OwnedLock};
use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What a client asks an owner for, in a frame with a number that the replies repeat.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Request {
    /// The value of this number. From the reply on, the owner keeps it for the client until the client lets go of it, or
    /// until the link closes. Asked again, it changes nothing.
    Open(u64),
    /// The descriptor of this memory.
    Memory(FileId),
    /// A report of the values with numbers over this one, for a person to read. The reply may not be all of it.
    Report(u64),
}

/// The owner's answer to a [`Request`].
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Reply {
    /// The value.
    Opened {
        offer: OpenReply,
        /// This many more replies follow, each [`Reply::Memory`]: the memories of the offer that this link has not carried.
        memories: u32,
        /// False if the owner has let go of the value, so that only its clients keep it.
        is_kept: bool,
    },
    /// The descriptor of this memory comes with the frame.
    Memory(FileId),
    /// A report, and the number to ask for the rest after.
    Report(OwnerReport, Option<u64>),
    /// The value or the memory does not exist any more.
    Gone,
}

/// What a client says without being asked. No reply follows.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum ClientNotice {
    /// The client has let go of this value.
    Closed(u64),
    /// The client is asked to let go of this value, and uses it.
    InUse(u64),
}

/// What an owner says without being asked.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum OwnerNotice {
    /// The owner has let go of this value, or wants it back. The client answers with [`ClientNotice::Closed`] as soon as it
    /// does not use the value, and with [`ClientNotice::InUse`] if that is not now.
    LetGo(u64),
    /// These memories of the owner are gone: nothing new will ever be in them.
    Unmapped(Vec<FileId>),
}

/// All that a client needs to open a value, except the descriptors of the memory it names.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct OpenReply {
    pub(super) description: Description,
    pub(super) spans: Vec<SpanOffer>,
    pub(super) locks: Vec<LockOffer>,
    pub(super) right: RightOffer,
}

/// By what right the spans are used.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) enum RightOffer {
    /// Each by whoever holds its lock.
    Locked,
    /// The one span is two buffers, one read and one written.
    Double,
    /// The one span is atomics of so many bytes.
    Atomic(usize),
}

/// A run of bytes of a value.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SpanOffer {
    pub(super) memory: FileId,
    pub(super) start: usize,
    pub(super) len: usize,
    /// Index of the span's lock in [`OpenReply::locks`].
    pub(super) lock: usize,
}

/// Where a lock lies.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct LockOffer {
    pub(super) memory: FileId,
    index: u32,
    generation: u64,
}

impl LockOffer {
    pub(super) fn new(lock: &OwnedLock) -> Self {
        let LockAddress { index, generation } = lock.address();
        Self {
            memory: lock.memory(),
            index,
            generation,
        }
    }

    /// Makes it the first lock of a table, whichever it is: for bytes that are the same in every run.
    #[cfg(any(test, fuzzing))]
    pub(super) fn forget(&mut self, memory: FileId) {
        *self = Self {
            memory,
            index: 0,
            generation: 1,
        };
    }

    pub(super) fn address(self) -> LockAddress {
        LockAddress {
            index: self.index,
            generation: self.generation,
        }
    }
}

/// What a value is: its kind, and the bytes that only its kind can read.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Description {
    pub(super) kind: Cow<'static, str>,
    #[serde(serialize_with = "as_bytes", deserialize_with = "from_bytes")]
    pub(super) bytes: Vec<u8>,
}

/// A process that shares values, and the values.
#[non_exhaustive]
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OwnerReport {
    /// The number of the process.
    pub pid: u32,
    /// Its command line, at most 200 characters.
    pub command: String,
    /// False if the process did not answer within a second, for example because it is stopped. `values` is empty then.
    pub answers: bool,
    /// Its values, oldest first.
    pub values: Vec<ObjectReport>,
}

/// A shared value, as its owner reports it.
#[non_exhaustive]
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ObjectReport {
    /// The text of the handle that opens the value.
    pub handle: String,
    /// Kind, element type and size in a few words, for example `array <f8 [3, 4]`.
    pub what: String,
    /// Bytes of the value.
    pub bytes: usize,
    /// Bytes of the value that are in memory.
    pub resident: usize,
    /// Time since the value was made.
    pub age: Duration,
    /// Processes that have the value open, except its owner.
    pub open_in: Vec<u32>,
    /// The locks of the value.
    pub locks: Vec<LockReport>,
}

/// A lock of a shared value.
#[non_exhaustive]
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct LockReport {
    /// The process that writes, or that has handed out parts, and for how long; that is not known of a plain mutex.
    pub writer: Option<(u32, Option<Duration>)>,
    /// The processes that read, or work on parts. One that does so in several threads is named for each.
    pub readers: Vec<u32>,
    /// What an unfinished write left.
    pub poison: Option<String>,
    /// True if parts are handed out.
    pub partitioned: bool,
    /// The processes that wait for the lock.
    pub waiting: Vec<u32>,
    /// Number of holders that died and were cleaned up after.
    pub deaths: u32,
}

fn as_bytes<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(bytes)
}

fn from_bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    deserializer.deserialize_byte_buf(Bytes)
}

/// Reads bytes as one run: serde's own `Vec<u8>` is a sequence of numbers, a byte or two each.
struct Bytes;

impl Visitor<'_> for Bytes {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
        Ok(bytes.into())
    }

    fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
        Ok(bytes)
    }
}
