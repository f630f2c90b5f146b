//! Bad input and bad peers: the fault table F10 to F28, as far as these transports go. Each returns a named error, and costs
//! no other link anything.

mod bytes;
mod crowds;
mod descriptors;
mod files;
mod handshake;
mod raw;
mod records;
mod room;
mod signals;

const ROLE: &str = "NUMPUSH_TEST_ROLE";

/// Does nothing unless a test of `bytes`, `descriptors` or `crowds` started it.
#[test]
fn peer() {
    match std::env::var(ROLE).as_deref() {
        Ok("count-descriptors") => descriptors::count_descriptors(),
        Ok("few-descriptors") => descriptors::few_descriptors(),
        Ok("budgeted-server") => bytes::budgeted_server(),
        Ok("flooders") => bytes::flooders(),
        Ok("idle-server") => crowds::idle_server(),
        Ok("idle-peers") => crowds::idle_peers(),
        _ => {}
    }
}
