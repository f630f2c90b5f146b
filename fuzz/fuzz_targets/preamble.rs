//! 64 bytes: no panic, and what is accepted is written back as it was.
#![no_main]

use libfuzzer_sys::fuzz_target;
use numpush_message::Preamble;

fuzz_target!(|bytes: [u8; 64]| {
    if let Ok(preamble) = Preamble::decode(&bytes) {
        let again = preamble.encode(&[]);
        // But for the upper flags and the bytes that later versions may use, which are not kept.
        let mut kept = bytes;
        kept[7] = 0;
        kept[52..60].fill(0);
        assert_eq!(again[..60], kept[..60]);
    }
});
