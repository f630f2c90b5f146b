//! The offer of a shared value: no panic, and what is opened is read and written as every kind of value.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = numpush_shm::fuzz::open_and_use(bytes);
});
