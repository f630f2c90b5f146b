//! Allocators without room: the decoder waits, and loses no byte.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use numpush_message::{
    AllocError, Buffer, BufferAllocator, BufferMut, DecodeError, Decoder, Encoder, Flags,
    HeapAllocator, Limits, Message, Record,
};

const STEP: usize = 1000;

/// Hands out room that a test gives it, `STEP` bytes at a time.
#[derive(Clone, Default)]
struct Scarce(Arc<AtomicUsize>);

struct Steps {
    room: Scarce,
    whole: Box<dyn BufferMut>,
    ready: usize,
}

impl Scarce {
    fn give(&self, len: usize) {
        self.0.fetch_add(len, Ordering::Relaxed);
    }

    fn take(&self, len: usize) -> Result<(), AllocError> {
        let taken = |left: usize| left.checked_sub(len);
        match self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken)
        {
            Ok(_) => Ok(()),
            Err(_) => Err(AllocError::NoMemory { len }),
        }
    }
}

impl BufferAllocator for Scarce {
    fn allocate(&mut self, len: usize) -> Result<Box<dyn BufferMut>, AllocError> {
        self.take(len)?;
        HeapAllocator::new().allocate(len)
    }

    fn claim(&mut self, len: usize) -> Result<Box<dyn BufferMut>, AllocError> {
        Ok(Box::new(Steps {
            room: self.clone(),
            whole: HeapAllocator::new().allocate(len)?,
            ready: 0,
        }))
    }
}

impl BufferMut for Steps {
    fn ensure(&mut self, len: usize) -> Result<(), AllocError> {
        if self.ready < len {
            assert_eq!(len, self.ready + 1, "no more is asked for than comes next");
            self.room.take(STEP)?;
            self.ready += STEP;
        }
        Ok(())
    }

    fn as_mut_slice(&mut self) -> &mut [u8] {
        let whole = self.whole.as_mut_slice();
        let len = self.ready.min(whole.len());
        &mut whole[..len]
    }

    fn freeze(self: Box<Self>) -> Buffer<'static> {
        self.whole.freeze()
    }
}

fn message(len: usize) -> Message<'static> {
    let bytes: Vec<u8> = (0..=250).cycle().take(len).collect();
    Message::from(Buffer::from(bytes))
}

/// Decodes what `bytes` have, and gives `ration` bytes of room whenever there is none. Returns how often that was, too.
fn decode(mut bytes: &[u8], ration: usize, piece: usize) -> (Vec<Message<'static>>, usize) {
    let mut decoder = Decoder::new(Limits::default());
    let mut room = Scarce::default();
    let (mut messages, mut waits) = (Vec::new(), 0);
    let mut count = 0;
    while !bytes.is_empty() || decoder.wants_room() {
        match decoder.filled(count, &mut room) {
            Ok(Some(Record::Message(_, message))) => messages.push(message),
            Ok(_) => {}
            Err(DecodeError::Alloc(error)) => {
                assert_eq!(decoder.spare().unwrap_err(), error.into());
                room.give(ration);
                waits += 1;
                count = 0;
                continue;
            }
            Err(error) => panic!("{error}"),
        }
        let spare = decoder.spare().unwrap();
        assert!(!spare.is_empty());
        count = spare.len().min(bytes.len()).min(piece);
        spare[..count].copy_from_slice(&bytes[..count]);
        bytes = &bytes[count..];
    }
    if let Some(Record::Message(_, message)) = decoder.filled(count, &mut room).unwrap() {
        messages.push(message);
    }
    (messages, waits)
}

#[test]
fn a_decoder_without_room_goes_on_when_there_is_some() {
    // Small, large, without payload, with checksums: read whole, and header first.
    let sent = [100, 200_000, 0, 70_000].map(message);
    for checksums in [false, true] {
        let mut stream = Vec::new();
        for message in &sent {
            let flags = Flags {
                checksums,
                ..Flags::default()
            };
            stream.extend(Encoder::new(message, flags).unwrap().copy_rest());
        }
        for piece in [1, 777, usize::MAX] {
            let (received, waits) = decode(&stream, STEP, piece);
            assert_eq!(received, sent);
            assert!(waits > 270, "{waits} waits");
            let (received, waits) = decode(&stream, 1 << 20, piece);
            assert_eq!((received.len(), waits), (4, 1));
        }
    }
}

#[test]
fn a_claim_is_given_no_more_room_than_its_bytes_need() {
    let large = Message::from(Buffer::from(vec![0; 1 << 30]));
    let stream = Encoder::new(&large, Flags::default()).unwrap();
    let mut room = Scarce::default();
    room.give(3 * STEP);
    let mut decoder = Decoder::new(Limits::default());
    let mut rest = stream.head();
    while !rest.is_empty() {
        let spare = decoder.spare().unwrap();
        let count = spare.len().min(rest.len());
        spare[..count].copy_from_slice(&rest[..count]);
        rest = &rest[count..];
        assert!(decoder.filled(count, &mut room).unwrap().is_none());
    }
    assert_eq!(decoder.payload_len(), Some(1 << 30));
    assert_eq!(room.0.load(Ordering::Relaxed), 2 * STEP);
}
