//! Messages to bytes and back: any split, any flipped byte, any truncation.
#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

mod bytes;
mod frames;
mod headers;
mod limits;
mod offers;
mod records;
mod room;
mod round_trip;
mod samples;
mod seen;
