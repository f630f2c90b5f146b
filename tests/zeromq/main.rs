//! ZeroMQ: with other programs, with peers that come and go, and with hostile ones.

mod faults;
mod foreign;
mod hostile;
mod interop;
mod kinds;
mod left;
mod life;
mod memory;
mod peers;
mod raw;
mod rust;
mod sealed;
mod secured;

/// Does nothing unless a test of `hostile` started it.
#[test]
fn peer() {
    if std::env::var(hostile::ROLE).is_ok() {
        hostile::victim();
    }
}
