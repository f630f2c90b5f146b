//! What the two sides say beside their messages.

use crate::fault::Fault;
use crate::frame::FrameHead;
use crate::properties::Properties;

/// A command. Its parts are borrowed from the bytes that came.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// The handshake is done, as far as this side is concerned.
    Ready(Properties<'a>),
    /// The handshake has failed; why, in words.
    Error(&'a [u8]),
    /// Messages that begin so are wanted (3.1).
    Subscribe(&'a [u8]),
    /// They are wanted no longer, as often as was said before that they are (3.1).
    Cancel(&'a [u8]),
    /// Is somebody there?
    Ping {
        /// How long the asker waits for a sign of life, in tenths of a second.
        ttl: u16,
        /// What is to be said again, at most 16 bytes.
        context: &'a [u8],
    },
    /// Somebody is there.
    Pong(&'a [u8]),
    /// A command that has no meaning here, and is skipped.
    Other(&'a [u8]),
}

/// Longest context of a ping in bytes.
const LONGEST_CONTEXT: usize = 16;

impl<'a> Command<'a> {
    /// The command that is the body of a frame.
    ///
    /// # Errors
    /// For a body that is too short for what it says, and a context of more than 16 bytes.
    pub fn read(body: &'a [u8]) -> Result<Self, Fault> {
        let cut = || Fault::Violation("a command is shorter than it says");
        let (&len, rest) = body.split_first().ok_or_else(cut)?;
        let (name, rest) = rest.split_at_checked(len.into()).ok_or_else(cut)?;
        Ok(match name {
            b"READY" => Self::Ready(Properties::read(rest)?),
            b"ERROR" => {
                let (&len, reason) = rest.split_first().ok_or_else(cut)?;
                Self::Error(reason.get(..len.into()).ok_or_else(cut)?)
            }
            b"SUBSCRIBE" => Self::Subscribe(rest),
            b"CANCEL" => Self::Cancel(rest),
            b"PING" => {
                let (ttl, context) = rest.split_first_chunk().ok_or_else(cut)?;
                let ttl = u16::from_be_bytes(*ttl);
                Self::Ping {
                    ttl,
                    context: short(context)?,
                }
            }
            b"PONG" => Self::Pong(short(rest)?),
            name => Self::Other(name),
        })
    }

    /// Appends the frame of this command to `bytes`. [`Self::Other`] goes without a body.
    pub fn write(&self, bytes: &mut Vec<u8>) {
        let (name, lead, body): (&[u8], &[u8], &[u8]) = match self {
            Self::Ready(properties) => (b"READY", &[], properties.bytes()),
            Self::Error(reason) => {
                let reason = reason.get(..255).unwrap_or(reason);
                return write(
                    b"ERROR",
                    &[u8::try_from(reason.len()).unwrap_or(255)],
                    reason,
                    bytes,
                );
            }
            Self::Subscribe(topic) => (b"SUBSCRIBE", &[], topic),
            Self::Cancel(topic) => (b"CANCEL", &[], topic),
            Self::Ping { ttl, context } => {
                return write(b"PING", &ttl.to_be_bytes(), context, bytes);
            }
            Self::Pong(context) => (b"PONG", &[], context),
            Self::Other(name) => (name, &[], &[]),
        };
        write(name, lead, body, bytes);
    }
}

fn short(context: &[u8]) -> Result<&[u8], Fault> {
    if context.len() > LONGEST_CONTEXT {
        return Err(Fault::OverLimit {
            what: "the bytes of a ping's context",
            value: context.len() as u64,
            limit: LONGEST_CONTEXT as u64,
        });
    }
    Ok(context)
}

fn write(name: &[u8], lead: &[u8], body: &[u8], bytes: &mut Vec<u8>) {
    let len = 1 + name.len() + lead.len() + body.len();
    FrameHead::command(len as u64).write(bytes);
    bytes.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
    bytes.extend(name);
    bytes.extend(lead);
    bytes.extend(body);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::properties::Property;

    fn body(command: Command<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        command.write(&mut bytes);
        let (head, taken) = FrameHead::read(&bytes).unwrap().unwrap();
        assert_eq!(head, FrameHead::command((bytes.len() - taken) as u64));
        bytes.split_off(taken)
    }

    #[test]
    fn what_is_written_is_read() {
        let mut properties = Vec::new();
        let kind = Property {
            name: "Socket-Type",
            value: b"PUSH",
        };
        Properties::write(&mut properties, kind).unwrap();
        for command in [
            Command::Ready(Properties::read(&properties).unwrap()),
            Command::Error(b"no"),
            Command::Subscribe(b""),
            Command::Cancel(&[7; 300]),
            Command::Ping {
                ttl: 300,
                context: b"one",
            },
            Command::Pong(b""),
            Command::Other(b"JOIN"),
        ] {
            let body = body(command);
            assert_eq!(Command::read(&body), Ok(command));
            let named = 1 + usize::from(body[0]);
            for cut in 0..named {
                assert!(Command::read(&body[..cut]).is_err(), "{command:?} {cut}");
            }
        }
    }

    #[test]
    fn what_is_longer_than_it_may_be_is_refused() {
        let context = [0; LONGEST_CONTEXT + 1];
        assert!(Command::read(&body(Command::Pong(&context))).is_err());
        assert!(Command::read(b"\x05ERROR\x02n").is_err());
        assert!(Command::read(b"\x04PING\x00").is_err());
        // A reason is cut to what fits.
        let long = body(Command::Error(&[b'a'; 300]));
        assert_eq!(Command::read(&long), Ok(Command::Error(&[b'a'; 255])));
    }
}
