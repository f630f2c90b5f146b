//! What a pool and its workers send each other.
//!
//! A worker begins with an empty frame. Each [`Call`] of the pool is answered by one [`Reply`].

use crate::object::MAX_FRAME;

/// Set in the environment of a worker.
pub(super) const VARIABLE: &str = "NUMPUSH_WORKER";

/// A task to run: the name of the function, a zero byte, and the arguments.
pub(super) struct Call<'a> {
    pub(super) task: &'a str,
    pub(super) arguments: &'a [u8],
}

/// What became of a task: one byte, and what belongs to it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// The function returned this.
    Done(Vec<u8>),
    /// The function panicked.
    Panicked { message: String, location: String },
    /// The worker has no function of the name.
    Unknown,
    /// The arguments cannot be read, or the result cannot be sent.
    Unsendable(String),
}

const DONE: u8 = 0;
const PANICKED: u8 = 1;
const UNKNOWN: u8 = 2;
const UNSENDABLE: u8 = 3;

impl<'a> Call<'a> {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.task.as_bytes());
        out.push(0);
        out.extend_from_slice(self.arguments);
    }

    pub(super) fn decode(bytes: &'a [u8]) -> Option<Self> {
        let end = bytes.iter().position(|&byte| byte == 0)?;
        Some(Self {
            task: std::str::from_utf8(&bytes[..end]).ok()?,
            arguments: &bytes[end + 1..],
        })
    }
}

impl Reply {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Done(result) => {
                out.push(DONE);
                out.extend_from_slice(result);
            }
            Self::Panicked { message, location } => {
                out.push(PANICKED);
                out.extend_from_slice(location.as_bytes());
                out.push(0);
                out.extend_from_slice(message.as_bytes());
            }
            Self::Unknown => out.push(UNKNOWN),
            Self::Unsendable(fault) => {
                out.push(UNSENDABLE);
                out.extend_from_slice(fault.as_bytes());
            }
        }
    }

    pub(super) fn decode(mut bytes: Vec<u8>) -> Option<Self> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (&tag, rest) = bytes.split_first()?;
        Some(match tag {
            DONE => {
                bytes.drain(..1);
                Self::Done(bytes)
            }
            PANICKED => {
                let end = rest.iter().position(|&byte| byte == 0)?;
                Self::Panicked {
                    location: text(&rest[..end]),
                    message: text(&rest[end + 1..]),
                }
            }
            UNKNOWN => Self::Unknown,
            UNSENDABLE => Self::Unsendable(text(rest)),
            _ => return None,
        })
    }
}

/// The error for arguments or a result over the limit.
pub(super) fn too_long(what: &str) -> String {
    format!(
        "its {what} are over the limit of {MAX_FRAME} bytes: send a handle, and the data in shared memory"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_and_calls_survive_as_bytes() {
        for reply in [
            Reply::Done(vec![0, 1, 2]),
            Reply::Panicked {
                message: "no\0 sum".into(),
                location: "a.rs:1:2".into(),
            },
            Reply::Unknown,
            Reply::Unsendable("too long".into()),
        ] {
            let mut bytes = Vec::new();
            reply.encode(&mut bytes);
            assert_eq!(Reply::decode(bytes), Some(reply));
        }
        let mut bytes = Vec::new();
        let (task, arguments) = ("a::b", &[0, 7][..]);
        Call { task, arguments }.encode(&mut bytes);
        let call = Call::decode(&bytes).unwrap();
        assert_eq!((call.task, call.arguments), (task, arguments));
    }

    #[test]
    fn other_bytes_are_no_reply_and_no_call() {
        assert_eq!(Reply::decode(Vec::new()), None);
        assert_eq!(Reply::decode(vec![9]), None);
        assert_eq!(Reply::decode(vec![PANICKED, b'x']), None);
        assert!(Call::decode(b"name without an end").is_none());
    }
}
