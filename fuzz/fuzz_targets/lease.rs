//! Frames between an owner and its clients: no panic on either side.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| numpush_shm::fuzz::hear_frames(bytes));
