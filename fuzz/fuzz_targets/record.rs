//! A whole record in memory: no panic, and what is accepted converts to Arrow and ndarray, and is written as it was read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use numpush_message::{Encoder, Limits, Message, Preamble};

fuzz_target!(|bytes: Vec<u8>| {
    let mut bytes = bytes;
    let Some(first) = bytes.first_chunk::<32>() else {
        return;
    };
    let Ok(preamble) = Preamble::decode(first) else {
        return;
    };
    let Some(header) = bytes.get(32..32 + preamble.header_len as usize) else {
        return;
    };
    let mended = preamble.encode(header);
    bytes[..32].copy_from_slice(&mended);
    let Ok(message) = Message::open(&bytes.clone().into(), &Limits::default()) else {
        return;
    };
    if let Some(frame) = message.as_frame() {
        // Arrow may refuse what lies at an odd address; it must not find fault with anything else.
        let _ = frame.to_batch();
    }
    if let Some(array) = message.as_array() {
        let _ = array.as_ndarray::<f64, ndarray::IxDyn>();
        let _ = array.as_ndarray::<bool, ndarray::IxDyn>();
        let _ = array.clone().into_c_order_or_copy();
    }
    let mut encoder =
        Encoder::new(&message, preamble.id, preamble.flags).expect("what was read can be written");
    let mut again = Vec::new();
    while let Some(next) = encoder.next() {
        let count = next.bytes.len();
        again.extend_from_slice(next.bytes);
        encoder.advance(count);
    }
    assert_eq!(again, bytes);
});
