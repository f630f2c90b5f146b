//! Frames that nobody on the way can read or change.
//!
//! The body of a sealed frame has 33 bytes before its data: a name, a number, a tag, and flags that say what the data are.

use std::collections::TryReserveError;
use std::fmt::Debug;

use crate::fault::Fault;
use crate::frame::FrameHead;

/// Bytes that the body of a sealed frame has before its data.
///
/// Whoever reads a body to 31 bytes behind an address that is a multiple of 64 has its data at the next one.
pub const SEALED_LEAD: usize = 33;

/// Opens what a peer sealed.
pub(crate) type Opening = Box<dyn Open>;

/// How frames leave when a handshake is done.
#[non_exhaustive]
#[derive(Debug)]
pub enum WayOut {
    /// As they are: the mechanism does not seal.
    Bare,
    /// Sealed, each of them.
    Sealed(Sealing),
}

/// Why a frame was not sealed. Nothing of it was, and its number is free.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// There is no memory for the sealed copy.
    #[error("there is no memory to seal a frame of {len} bytes")]
    NoMemory {
        /// Bytes of its data.
        len: usize,
        /// What the allocator says.
        source: TryReserveError,
    },
    /// 2^64 frames were sealed with this key. The connection must end.
    #[error("the numbers of sealed frames are used up")]
    UsedUp,
}

/// Seals the frames of this side.
///
/// No number may be used twice with a key, for two frames with one number tell both: so it cannot be cloned, and a process that
/// was forked off must not seal with its copy.
#[derive(Debug)]
pub struct Sealing(pub(crate) Box<dyn Seal>);

impl Sealing {
    /// Appends a sealed frame to `to`, head and body: the one copy that a sealed frame costs. Its data are `parts` one after another.
    /// What it is is sealed too, [`FrameHead::more`] and [`FrameHead::command`] of `head`; its length is that of the parts.
    ///
    /// # Errors
    /// If there is no memory for it, or no number.
    pub fn seal(
        &mut self,
        head: FrameHead,
        parts: &[&[u8]],
        to: &mut Vec<u8>,
    ) -> Result<(), SealError> {
        self.0.seal(head, parts, to)
    }
}

pub(crate) trait Seal: Debug + Send + Sync {
    /// As [`Sealing::seal`].
    fn seal(&mut self, head: FrameHead, parts: &[&[u8]], to: &mut Vec<u8>)
    -> Result<(), SealError>;
}

pub(crate) trait Open: Debug + Send + Sync {
    /// Opens the body of a frame where it is, of which the first 32 bytes are `lead`: behind the first byte of `sealed` are its data; what
    /// they are is returned.
    fn open(&mut self, lead: &[u8; 32], sealed: &mut [u8]) -> Result<FrameHead, Fault>;
}
