//! The first 64 bytes of each side.

use crate::fault::Fault;

/// Bytes of a greeting.
pub const GREETING_LEN: usize = 64;

const SIGNATURE: [u8; 10] = [0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f];
const MECHANISM: std::ops::Range<usize> = 12..32;
const AS_SERVER: usize = 32;

/// How a connection is secured.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// Not at all.
    Null,
    /// By a name and a password.
    Plain,
    /// By keys, and all that is said is sealed.
    Curve,
}

impl Mechanism {
    /// Its name on the wire: `NULL`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Null => "NULL",
            Self::Plain => "PLAIN",
            Self::Curve => "CURVE",
        }
    }
}

/// What one side says first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// Version 3.`minor`.
    pub minor: u8,
    /// How the connection is secured; the same on both sides.
    pub mechanism: Mechanism,
    /// The side that proves who it is second, for a mechanism with two roles.
    pub as_server: bool,
}

impl Greeting {
    /// The greeting of this side: version 3.1.
    pub fn new(mechanism: Mechanism, as_server: bool) -> Self {
        Self {
            minor: 1,
            mechanism,
            as_server,
        }
    }

    /// Its bytes.
    pub fn to_bytes(self) -> [u8; GREETING_LEN] {
        let mut bytes = [0; GREETING_LEN];
        let name = self.mechanism.name().as_bytes();
        let head = SIGNATURE.into_iter().chain([3, self.minor]);
        let named = head.chain(name.iter().copied());
        for (byte, value) in bytes.iter_mut().zip(named) {
            *byte = value;
        }
        if let Some(byte) = bytes.get_mut(AS_SERVER) {
            *byte = self.as_server.into();
        }
        bytes
    }

    /// Looks at the first bytes of a peer, of which there may be fewer than 64. `None` if nothing is wrong so far and some are
    /// missing: a peer of an older protocol waits for an answer to its first eleven.
    ///
    /// # Errors
    /// For another protocol, a version below 3.0, and another mechanism than `mechanism`.
    pub fn read(bytes: &[u8], mechanism: Mechanism) -> Result<Option<Self>, Fault> {
        let at = |index: usize| bytes.get(index).copied();
        // Eight bytes between the two were a length in old versions, and mean nothing here.
        if at(0).is_some_and(|byte| byte != 0xff) || at(9).is_some_and(|byte| byte != 0x7f) {
            // Version 1 has a length there, and bit 0 clear.
            return Err(Fault::NotZmtp(bytes.iter().copied().take(10).collect()));
        }
        if let Some(major @ ..3) = at(10) {
            return Err(Fault::Version(major));
        }
        let Some(bytes) = bytes.first_chunk::<GREETING_LEN>() else {
            return Ok(None);
        };
        let name = bytes.get(MECHANISM).unwrap_or(&[]);
        let end = name.iter().position(|byte| *byte == 0);
        let (name, rest) = name.split_at(end.unwrap_or(name.len()));
        if name != mechanism.name().as_bytes() || rest.iter().any(|byte| *byte != 0) {
            return Err(Fault::Mechanism {
                theirs: String::from_utf8_lossy(name).into_owned(),
                ours: mechanism.name(),
            });
        }
        Ok(Some(Self {
            minor: if at(10) == Some(3) {
                at(11).unwrap_or(0)
            } else {
                1
            },
            mechanism,
            as_server: at(AS_SERVER) == Some(1),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_as_soon_as_it_is_there() {
        let greeting = Greeting::new(Mechanism::Null, true);
        let bytes = greeting.to_bytes();
        for cut in 0..GREETING_LEN {
            assert_eq!(Greeting::read(&bytes[..cut], Mechanism::Null), Ok(None));
        }
        assert_eq!(Greeting::read(&bytes, Mechanism::Null), Ok(Some(greeting)));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let bytes = Greeting::new(Mechanism::Null, false).to_bytes();
        let with = |index: usize, value: u8| {
            let mut bytes = bytes;
            bytes[index] = value;
            Greeting::read(&bytes, Mechanism::Null)
        };
        assert!(matches!(with(0, b'G'), Err(Fault::NotZmtp(_))));
        assert!(matches!(with(9, 0), Err(Fault::NotZmtp(_))));
        assert_eq!(with(10, 2), Err(Fault::Version(2)));
        assert!(matches!(with(12, b'P'), Err(Fault::Mechanism { theirs, .. }) if theirs == "PULL"));
        // A later major version speaks ours to a peer that has ours.
        assert_eq!(
            with(10, 4).map(|greeting| greeting.map(|it| it.minor)),
            Ok(Some(1))
        );
        assert!(matches!(with(31, 1), Err(Fault::Mechanism { .. })));
        // The first byte alone tells a stranger.
        assert!(Greeting::read(b"G", Mechanism::Null).is_err());
    }
}
