//! A stream in pieces: no panic, no room for nothing, nothing allocated beyond the limit, and the same answer whole.
#![no_main]

use libfuzzer_sys::fuzz_target;
use numpush_message::{
    AllocError, BufferAllocator, BufferMut, DecodeError, Decoder, HeapAllocator, Limits, Message,
    PREAMBLE_LEN, Preamble, Record,
};

const LIMIT: usize = 1 << 20;

struct Bounded(HeapAllocator);

impl BufferAllocator for Bounded {
    fn allocate(&mut self, len: usize) -> Result<Box<dyn BufferMut>, AllocError> {
        assert!(len <= LIMIT + (128 << 10), "{len} bytes were asked for");
        self.0.allocate(len)
    }
}

fn decode(bytes: &[u8], piece: usize) -> (Vec<Message<'static>>, Option<DecodeError>) {
    let mut decoder = Decoder::new(Limits::default().with_payload(LIMIT as u64));
    let (mut allocator, mut rest, mut messages) =
        (Bounded(HeapAllocator::new()), bytes, Vec::new());
    while !rest.is_empty() {
        let spare = match decoder.spare() {
            Ok(spare) => spare,
            Err(error) => return (messages, Some(error)),
        };
        assert!(!spare.is_empty());
        let (now, later) = rest.split_at(spare.len().min(rest.len()).min(piece));
        spare[..now.len()].copy_from_slice(now);
        match decoder.filled(now.len(), &mut allocator) {
            Ok(Some(Record::Message(_, message))) => messages.push(message),
            Ok(_) => {}
            Err(error) => return (messages, Some(error)),
        }
        rest = later;
    }
    (messages, None)
}

fuzz_target!(|input: (u8, Vec<u8>)| {
    let (piece, mut bytes) = input;
    // Mend the checksum of the first record, or nothing after it would ever be reached.
    if let Some(first) = bytes.first_chunk::<PREAMBLE_LEN>()
        && let Ok(preamble) = Preamble::decode(first)
        && let Some(header) = bytes.get(PREAMBLE_LEN..PREAMBLE_LEN + preamble.header_len as usize)
    {
        let mended = preamble.encode(header);
        bytes[..PREAMBLE_LEN].copy_from_slice(&mended);
    }
    let (whole, error) = decode(&bytes, usize::MAX);
    let (pieces, error_in_pieces) = decode(&bytes, usize::from(piece) + 1);
    assert_eq!(whole, pieces);
    assert_eq!(error.is_some(), error_in_pieces.is_some());
});
