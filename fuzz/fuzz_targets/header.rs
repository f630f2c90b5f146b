//! A header under a preamble that vouches for it: no panic, and what is accepted has one encoding.
#![no_main]

use libfuzzer_sys::fuzz_target;
use numpush_message::{Header, Limits, Preamble, RecordKind};

fuzz_target!(|input: (u8, u16, u16, &[u8])| {
    let (kind, buffers, payload, header) = input;
    let kinds = [
        RecordKind::Bytes,
        RecordKind::Array,
        RecordKind::Frame,
        RecordKind::Part,
    ];
    let kind = kinds[usize::from(kind) % 4];
    let preamble = Preamble {
        header_len: header.len() as u32,
        buffers: buffers.into(),
        ..Preamble::control(kind, 1, u64::from(payload) * 64)
    };
    let mut record = Vec::from(preamble.encode(header));
    record.extend_from_slice(header);
    if let Ok((read, header)) = Header::parse(&record, &Limits::default()) {
        assert_eq!(read, preamble);
        assert_eq!(header.buffer_lens().len(), usize::from(buffers));
    }
});
