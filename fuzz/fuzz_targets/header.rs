//! A header under a preamble that vouches for it: no panic, and what is accepted has one encoding.
#![no_main]

use libfuzzer_sys::fuzz_target;
use numpush_message::{Flags, Header, Limits, Preamble, RecordKind};

fuzz_target!(|input: (u8, u16, u16, &[u8])| {
    let (kind, buffers, payload, header) = input;
    let kind = [RecordKind::Bytes, RecordKind::Array, RecordKind::Frame][usize::from(kind) % 3];
    let preamble = Preamble {
        kind,
        flags: Flags::default(),
        header_len: header.len() as u32,
        buffers: buffers.into(),
        payload_len: u64::from(payload) * 64,
        id: 1,
    };
    let mut record = Vec::from(preamble.encode(header));
    record.extend_from_slice(header);
    if let Ok((read, header)) = Header::parse(&record, &Limits::default()) {
        assert_eq!(read, preamble);
        assert_eq!(header.buffer_lens.len(), usize::from(buffers));
    }
});
