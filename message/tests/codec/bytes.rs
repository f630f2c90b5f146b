//! From messages to bytes and back, and what may happen to the bytes on the way.

use numpush_message::{
    DecodeError, Decoder, Encoder, Flags, HeapAllocator, Limits, Message, PREAMBLE_LEN, Preamble,
    Record, RecordKind, Stamp,
};

pub(crate) fn encode(message: &Message<'_>, checksums: bool) -> Vec<u8> {
    let mut encoder = Encoder::new(message, Flags::with_checksums(checksums)).unwrap();
    assert!(encoder.stamp(Stamp {
        id: 1,
        ..Stamp::default()
    }));
    let len = encoder.preamble().record_len();
    let bytes = encoder.copy_rest();
    assert_eq!(bytes.len() as u64, len);
    bytes
}

/// Feeds `bytes` in pieces of the sizes that `piece` returns.
pub(crate) fn decode(
    bytes: &[u8],
    mut piece: impl FnMut() -> usize,
) -> Result<Option<Message<'static>>, DecodeError> {
    let (mut decoder, mut heap) = (Decoder::new(Limits::default()), HeapAllocator::new());
    let mut rest = bytes;
    while !rest.is_empty() {
        let spare = decoder.spare()?;
        assert!(
            !spare.is_empty(),
            "a decoder always has room for the next byte"
        );
        let (now, later) = rest.split_at(spare.len().min(rest.len()).min(piece().max(1)));
        spare[..now.len()].copy_from_slice(now);
        if let Some(Record::Message(_, message)) = decoder.filled(now.len(), &mut heap)? {
            assert!(later.is_empty() && decoder.is_idle());
            return Ok(Some(message));
        }
        rest = later;
    }
    Ok(None)
}

/// A record with this header and payload, with the right checksum over whatever it says.
pub(crate) fn forged(kind: RecordKind, header: &[u8], buffers: u32, payload: &[u8]) -> Vec<u8> {
    let preamble = Preamble {
        header_len: u32::try_from(header.len()).unwrap(),
        buffers,
        ..Preamble::control(kind, 1, payload.len() as u64)
    };
    let mut bytes = Vec::from(preamble.encode(header));
    bytes.extend_from_slice(header);
    bytes.resize(bytes.len().next_multiple_of(64), 0);
    bytes.extend_from_slice(payload);
    bytes
}

pub(crate) fn mend(bytes: &mut [u8]) {
    let Some(first) = bytes.first_chunk::<PREAMBLE_LEN>() else {
        return;
    };
    let Ok(preamble) = Preamble::decode(first) else {
        return;
    };
    let end = PREAMBLE_LEN + preamble.header_len as usize;
    if let Some(header) = bytes.get(PREAMBLE_LEN..end) {
        let mended = preamble.encode(header);
        bytes[..PREAMBLE_LEN].copy_from_slice(&mended);
    }
}

/// A small generator, so that a failure repeats.
pub(crate) fn random(seed: u64) -> impl FnMut() -> usize {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 33).unwrap()
    }
}
