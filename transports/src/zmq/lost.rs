//! Why a connection has ended.

use std::io;
use std::time::Duration;

use numpush_zmtp::Fault;

/// A peer has so long to say who it is.
pub(super) const HANDSHAKE: Duration = Duration::from_secs(5);

/// Why a connection has ended.
#[derive(Debug)]
pub(super) enum Lost {
    Ended,
    Late,
    Io(io::Error),
    Fault(Fault),
}

impl From<Fault> for Lost {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl Lost {
    /// What an error of the kernel's says.
    pub(super) fn into_io(self) -> io::Error {
        match self {
            Self::Ended => io::ErrorKind::ConnectionReset.into(),
            Self::Late => io::Error::new(
                io::ErrorKind::TimedOut,
                format!("it did not say who it is within {HANDSHAKE:?}"),
            ),
            Self::Io(error) => error,
            Self::Fault(fault) => io::Error::new(io::ErrorKind::InvalidData, fault),
        }
    }
}
