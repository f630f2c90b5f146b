//! How an owner and its clients talk: a greeting each way, then frames. It knows bytes and no values.
//!
//! Nothing here waits unless it says so, and nothing that arrives is believed before it is checked.

mod frame;
mod greeting;
mod link;

pub(super) use frame::Frame;
pub(super) use greeting::{Greeting, Status, VERSION};
pub(super) use link::Link;

use std::io;

/// The number of a frame that answers no request.
pub(super) const NOTICE: u64 = 0;

/// Why a frame was not sent or received. The link is of no use after any of them.
#[derive(Debug)]
pub(super) enum WireError {
    /// The other side has ended, or has closed the link.
    Closed,
    /// The other side closed the link before it said anything.
    Unserved,
    /// The other side did not answer in time.
    TimedOut,
    /// The kernel refused.
    Io(io::Error),
    /// What came is not what the protocol says.
    Malformed(&'static str),
    /// The other side speaks another version.
    Version(u32),
    /// The other side serves as many processes as it can.
    Full,
    /// The other side has no descriptor or no memory left for one process more.
    Short,
}

impl From<io::Error> for WireError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::UnexpectedEof => Self::Closed,
            io::ErrorKind::TimedOut => Self::TimedOut,
            _ => Self::Io(error),
        }
    }
}
