//! A message that a call has in hand.

use numpush_message::Buffer;
use numpush_zmtp::Frames;

use crate::transfer::Transfer;

/// A message on its way to one peer.
pub(super) struct Sending<'m> {
    pub(super) frames: Frames<&'m Buffer<'m>>,
    pub(super) transfer: Transfer,
    /// Memory of the caller's is in it, which a queue cannot hold.
    pub(super) is_borrowed: bool,
    /// Bytes of it that the queue counts.
    pub(super) len: u64,
}

/// The same frames without memory of the caller's, and the bytes that were copied for it.
pub(super) fn owned(frames: Frames<&Buffer<'_>>) -> (Frames<Buffer<'static>>, u64) {
    let mut copied = 0;
    let frames = frames.map(|buffer| {
        if buffer.is_borrowed() {
            copied += buffer.len() as u64;
        }
        buffer.clone().into_owned_or_copy()
    });
    (frames, copied)
}
