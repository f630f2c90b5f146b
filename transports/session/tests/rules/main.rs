//! The rules of `docs/wire.md`, section Session, one test each.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and joins records as it likes"
)]

mod acknowledging;
mod closing;
mod credit;
mod descriptors;
mod greeting;
mod kit;
mod order;
mod pace;
mod reading;
mod room;
mod sending;
