//! The first bytes in each direction. Their form stays the same in every version of the protocol.

use super::WireError;

/// The version of the protocol. It changes with every change of a message or of its meaning.
pub(crate) const VERSION: u32 = 1;
/// Bytes of a greeting.
pub(super) const GREETING_LEN: usize = 16;
const MAGIC: [u8; 8] = *b"numpush\0";

/// What each side sends first, before it has read anything: who it is, which version it speaks, whether it serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Greeting {
    pub(crate) version: u32,
    pub(crate) status: Status,
}

/// What an owner says of itself. A client always says `Ready`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Ready = 0,
    /// It serves as many processes as it can, and closes the link.
    Full = 1,
    /// It has no descriptor or no memory left for one process more, and closes the link.
    Short = 2,
}

impl Greeting {
    pub(crate) fn new(status: Status) -> Self {
        Self {
            version: VERSION,
            status,
        }
    }

    pub(super) fn encode(self) -> [u8; GREETING_LEN] {
        let mut bytes = [0; GREETING_LEN];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&self.version.to_le_bytes());
        bytes[12..].copy_from_slice(&(self.status as u32).to_le_bytes());
        bytes
    }

    /// Checks the greeting of the other side: it speaks our version and serves us.
    pub(super) fn check(bytes: [u8; GREETING_LEN]) -> Result<(), WireError> {
        let word = |at: usize| {
            let mut word = [0; 4];
            word.copy_from_slice(&bytes[at..at + 4]);
            u32::from_le_bytes(word)
        };
        if bytes[..8] != MAGIC {
            return Err(WireError::Malformed("its first bytes are no greeting"));
        }
        match (word(8), word(12)) {
            (VERSION, 0) => Ok(()),
            (VERSION, 1) => Err(WireError::Full),
            (VERSION, 2) => Err(WireError::Short),
            (VERSION, _) => Err(WireError::Malformed("an unknown status in its greeting")),
            (other, _) => Err(WireError::Version(other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greetings_say_who_speaks() {
        let ready = Greeting::new(Status::Ready);
        assert!(Greeting::check(ready.encode()).is_ok());
        let full = Greeting::new(Status::Full).encode();
        assert!(matches!(Greeting::check(full), Err(WireError::Full)));
        let newer = Greeting {
            version: 7,
            ..ready
        };
        assert!(matches!(
            Greeting::check(newer.encode()),
            Err(WireError::Version(7))
        ));
        assert!(matches!(
            Greeting::check([0; GREETING_LEN]),
            Err(WireError::Malformed(_))
        ));
    }
}
