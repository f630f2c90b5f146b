//! A message as frames: preamble and header in one, then one frame a buffer.

use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use bytes::Bytes;
use numpush_message::{
    Buffer, BufferAllocator, DecodeError, EncodeError, Encoder, Flags, Header, Limits, Message,
    PREAMBLE_LEN,
};

use crate::deadline::Deadline;
use crate::transfer::{PathReason, Received, Transfer, TransferPath};

/// Payload bytes handed to the runtime that it has not yet taken into buffers of its own.
#[derive(Default)]
pub(super) struct Queue {
    bytes: Mutex<u64>,
    change: Condvar,
}

impl Queue {
    /// Waits until at most `leave` bytes are queued; false if the deadline comes first.
    pub(super) fn drain(&self, leave: u64, deadline: Deadline) -> bool {
        let mut bytes = self.lock();
        while *bytes > leave {
            if deadline.has_passed() {
                return false;
            }
            bytes = deadline.wait(&self.change, bytes);
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, u64> {
        numpush_os::lock(&self.bytes)
    }
}

/// A buffer that counts as queued until the runtime lets go of it.
struct Queued {
    buffer: Buffer<'static>,
    queue: Arc<Queue>,
}

impl Queued {
    fn new(buffer: Buffer<'static>, queue: &Arc<Queue>) -> Self {
        *queue.lock() += buffer.len() as u64;
        let queue = Arc::clone(queue);
        Self { buffer, queue }
    }
}

impl AsRef<[u8]> for Queued {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        *self.queue.lock() -= self.buffer.len() as u64;
        self.queue.change.notify_all();
    }
}

/// The frames of a message, which count as queued, and how many bytes were copied to make them.
pub(super) fn encode(
    message: &Message<'_>,
    queue: &Arc<Queue>,
) -> Result<(Vec<Bytes>, u64), EncodeError> {
    let encoder = Encoder::new(message, Flags::default())?;
    let len = PREAMBLE_LEN + encoder.preamble().header_len as usize;
    let head = encoder.head().get(..len).unwrap_or(&[]);
    let mut frames = vec![Bytes::copy_from_slice(head)];
    let mut copied = 0;
    for buffer in encoder.buffers() {
        if buffer.is_borrowed() {
            copied += buffer.len() as u64;
        }
        let queued = Queued::new(buffer.clone().into_owned_or_copy(), queue);
        frames.push(Bytes::from_owner(queued));
    }
    Ok((frames, copied))
}

/// A frame of this many bytes is taken where it lies. A smaller one may be a slice of a read buffer of any size, which a
/// program that keeps the message would keep too.
const IN_PLACE: usize = 64 << 10;

/// The message that the frames are, in place where `allocator` takes them.
pub(super) fn decode(
    frames: &[Bytes],
    allocator: &mut dyn BufferAllocator,
    max_message: u64,
) -> Result<Received, DecodeError> {
    let limits = Limits::default().with_payload(max_message);
    let Some((head, rest)) = frames.split_first() else {
        let missing = PREAMBLE_LEN as u64;
        return Err(DecodeError::Truncated { missing });
    };
    let (preamble, header) = Header::parse(head, &limits)?;
    if preamble.flags != Flags::default() {
        return Err(DecodeError::UnknownFlags { flags: 0 });
    }
    let len = PREAMBLE_LEN + preamble.header_len as usize;
    if head.len() > len {
        let count = (head.len() - len) as u64;
        return Err(DecodeError::TrailingBytes { count });
    }
    let mut transfer = Transfer {
        id: 0,
        bytes: preamble.payload_len,
        path: TransferPath::Frames,
        reason: PathReason::Aligned,
        ..Transfer::default()
    };
    let mut buffers = Vec::with_capacity(rest.len());
    for frame in rest {
        // The library puts frames anywhere; elements of 16 bytes, the largest, must be aligned.
        if frame.len() >= IN_PLACE
            && frame.as_ptr().align_offset(16) == 0
            && let Ok(buffer) = allocator.adopt(frame.clone().into())
        {
            buffers.push(buffer);
            continue;
        }
        let mut memory = allocator.allocate(frame.len())?;
        memory.as_mut_slice().copy_from_slice(frame);
        buffers.push(memory.freeze());
        transfer.copied += frame.len() as u64;
        transfer.reason = PathReason::Allocator;
    }
    let message = header.resolve(buffers)?;
    Ok(Received::new(message, transfer))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use numpush_message::HeapAllocator;

    use super::*;

    #[test]
    fn a_message_comes_back_from_its_frames() {
        let queue = Arc::default();
        let message = Message::new(Buffer::from(vec![7; 100])).with_attribute("from", "here");
        let (frames, copied) = encode(&message, &queue).unwrap();
        assert_eq!((frames.len(), copied), (2, 0));
        let received = decode(&frames, &mut HeapAllocator::new(), 1000).unwrap();
        assert_eq!(received.message, message);
        assert!(decode(&frames, &mut HeapAllocator::new(), 10).is_err());
        assert!(decode(&frames[..1], &mut HeapAllocator::new(), 1000).is_err());
        assert!(decode(&[], &mut HeapAllocator::new(), 1000).is_err());
    }

    #[test]
    fn a_small_frame_does_not_keep_the_buffer_it_lies_in() {
        let lies_in = |len: usize| {
            let message = Message::new(Buffer::from(vec![7; len]));
            let encoder = Encoder::new(&message, Flags::default()).unwrap();
            let head = PREAMBLE_LEN + encoder.preamble().header_len as usize;
            let buffer = Bytes::from(vec![7; 4 * IN_PLACE]);
            let start = buffer.as_ptr().align_offset(16);
            let frames = [
                Bytes::copy_from_slice(&encoder.head()[..head]),
                buffer.slice(start..start + len),
            ];
            let received = decode(&frames, &mut HeapAllocator::new(), 1 << 20).unwrap();
            assert_eq!(received.message, message);
            drop(frames);
            !buffer.is_unique()
        };
        assert!(!lies_in(IN_PLACE - 1));
        assert!(lies_in(IN_PLACE));
    }

    #[test]
    fn frames_count_as_queued_until_they_are_dropped() {
        let queue = Arc::default();
        let message = Message::new(Buffer::from(vec![7; 100]));
        let (frames, _) = encode(&message, &queue).unwrap();
        let now = || Deadline::after(Duration::ZERO);
        assert!(!queue.drain(99, now()));
        assert!(queue.drain(100, now()));
        drop(frames);
        assert!(queue.drain(0, now()));
    }
}
