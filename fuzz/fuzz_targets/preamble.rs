//! 32 bytes: no panic, and what is accepted is written back as it was.
#![no_main]

use libfuzzer_sys::fuzz_target;
use numpush_message::Preamble;

fuzz_target!(|bytes: [u8; 32]| {
    if let Ok(preamble) = Preamble::decode(&bytes) {
        let again = preamble.encode(&[]);
        assert_eq!(again[..28], bytes[..28]);
    }
});
