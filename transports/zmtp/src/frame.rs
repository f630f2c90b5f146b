//! What leads a frame.

use crate::fault::Fault;

/// Bytes of the longest head: its flags, and a length of eight bytes.
pub const LONGEST_HEAD: usize = 9;

const MORE: u8 = 1;
const LONG: u8 = 2;
const COMMAND: u8 = 4;

/// The head of a frame: how long its body is, and what it is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHead {
    /// Bytes of the body.
    pub len: u64,
    /// Another frame of the same message follows.
    pub more: bool,
    /// The body is a command, not a part of a message.
    pub command: bool,
}

impl FrameHead {
    /// The head of a frame of a message.
    pub fn message(len: u64, more: bool) -> Self {
        Self {
            len,
            more,
            command: false,
        }
    }

    /// The head of a command.
    pub fn command(len: u64) -> Self {
        Self {
            len,
            more: false,
            command: true,
        }
    }

    /// Appends it to `bytes`: two bytes, or nine for a body of more than 255.
    pub fn write(self, bytes: &mut Vec<u8>) {
        let flags = (if self.more { MORE } else { 0 }) | (if self.command { COMMAND } else { 0 });
        match u8::try_from(self.len) {
            Ok(len) => bytes.extend([flags, len]),
            Err(_) => {
                bytes.push(flags | LONG);
                bytes.extend(self.len.to_be_bytes());
            }
        }
    }

    /// Reads a head at the front of `bytes`, and says how many of them it takes; `None` if there are not enough.
    ///
    /// # Errors
    /// For flags that have no meaning, a command with [`Self::more`], and a length of 2^63 and more.
    pub fn read(bytes: &[u8]) -> Result<Option<(Self, usize)>, Fault> {
        let Some((&flags, rest)) = bytes.split_first() else {
            return Ok(None);
        };
        if flags & !(MORE | LONG | COMMAND) != 0 {
            return Err(Fault::Violation("a frame has flags that have no meaning"));
        }
        let (more, command) = (flags & MORE != 0, flags & COMMAND != 0);
        if more && command {
            return Err(Fault::Violation("a command says that more of it follows"));
        }
        let (len, taken) = if flags & LONG == 0 {
            let Some(&len) = rest.first() else {
                return Ok(None);
            };
            (len.into(), 2)
        } else {
            let Some(len) = rest.first_chunk() else {
                return Ok(None);
            };
            (u64::from_be_bytes(*len), LONGEST_HEAD)
        };
        if i64::try_from(len).is_err() {
            return Err(Fault::Violation("a frame has a length of 2^63 or more"));
        }
        Ok(Some((Self { len, more, command }, taken)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for len in [0, 1, 255, 256, 65_536, (1 << 63) - 1] {
            for head in [
                FrameHead::message(len, false),
                FrameHead::message(len, true),
                FrameHead::command(len),
            ] {
                let mut bytes = Vec::new();
                head.write(&mut bytes);
                assert_eq!(FrameHead::read(&bytes), Ok(Some((head, bytes.len()))));
                for cut in 0..bytes.len() {
                    assert_eq!(FrameHead::read(&bytes[..cut]), Ok(None));
                }
            }
        }
    }

    #[test]
    fn flags_without_a_meaning_and_impossible_lengths_are_refused() {
        for flags in (8..=255).chain([5, 7]) {
            assert!(FrameHead::read(&[flags]).is_err(), "{flags}");
        }
        let mut bytes = vec![LONG];
        bytes.extend((1_u64 << 63).to_be_bytes());
        assert!(FrameHead::read(&bytes).is_err());
        // A long head may carry a short length.
        let mut bytes = vec![LONG];
        bytes.extend(7_u64.to_be_bytes());
        let head = FrameHead::message(7, false);
        assert_eq!(FrameHead::read(&bytes), Ok(Some((head, LONGEST_HEAD))));
    }
}
