//! A whole record in memory: no panic, and what is accepted converts to Arrow and ndarray, and is written as it was read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use numpush_message::{Encoder, Limits, Message, PREAMBLE_LEN, Preamble, Stamp};

fuzz_target!(|bytes: Vec<u8>| {
    let mut bytes = bytes;
    let Some(first) = bytes.first_chunk::<PREAMBLE_LEN>() else {
        return;
    };
    let Ok(preamble) = Preamble::decode(first) else {
        return;
    };
    let Some(header) = bytes.get(PREAMBLE_LEN..PREAMBLE_LEN + preamble.header_len as usize) else {
        return;
    };
    let mended = preamble.encode(header);
    bytes[..PREAMBLE_LEN].copy_from_slice(&mended);
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
    let mut encoder = Encoder::new(&message, preamble.flags).expect("what was read can be written");
    encoder.stamp(Stamp {
        id: preamble.id,
        ack: preamble.ack,
        reply_to: preamble.reply_to,
        channel: preamble.channel,
    });
    let mut again = Vec::new();
    while let Some(next) = encoder.next() {
        let count = next.bytes.len();
        again.extend_from_slice(next.bytes);
        encoder.advance(count);
    }
    let header = &bytes[PREAMBLE_LEN..];
    if begins_upper_case(header) || header.windows(5).any(|key| key == b"align") {
        // Ancillary keys and the alignment are not kept.
        let opened = Message::open(&again.into(), &Limits::default());
        assert_eq!(opened.as_ref(), Ok(&message));
    } else {
        assert_eq!(again, bytes);
    }
});

/// True if the first key of the header, a map, is ancillary. Keys rise, so those stand before all others.
fn begins_upper_case(header: &[u8]) -> bool {
    let map = match header[0] {
        0xde => 3,
        0xdf => 5,
        _ => 1,
    };
    let text = match header[map] {
        0xd9 => 2,
        0xda => 3,
        0xdb => 5,
        _ => 1,
    };
    header[map + text].is_ascii_uppercase()
}
