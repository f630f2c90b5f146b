//! What a pool and its workers send each other.
//!
//! A worker begins with an empty frame. It answers each [`Order::Call`] by one [`Reply`], in their order. The values of a
//! [`Reply::DoneWithValues`] stay in the worker until an [`Order::Opened`] comes, one for each such reply.

use crate::object::Handle;
use crate::pool::frames::MAX_FRAME;

/// Set in the environment of a worker, to the process of its pool.
pub(super) const VARIABLE: &str = "NUMPUSH_WORKER";

/// What a worker is to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Order<'a> {
    /// Run a task: the name of the function, a zero byte, and the arguments.
    Call { task: &'a str, arguments: &'a [u8] },
    /// Let go of the oldest result whose values are kept: the pool has opened them.
    Opened,
}

/// What became of a task: one byte, and what belongs to it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply<'a> {
    /// The function returned this.
    Done(&'a [u8]),
    /// The function returned this, and these are the handles in it.
    DoneWithValues {
        handles: Vec<Handle>,
        result: &'a [u8],
    },
    /// The function panicked.
    Panicked { message: String, location: String },
    /// The worker has no function of the name.
    Unknown,
    /// The arguments cannot be read, or the result cannot be sent.
    Unsendable(String),
}

const CALL: u8 = 0;
const OPENED: u8 = 1;

const DONE: u8 = 0;
const PANICKED: u8 = 1;
const UNKNOWN: u8 = 2;
const UNSENDABLE: u8 = 3;
const DONE_WITH_VALUES: u8 = 4;

/// Msgpack's mark of an array of two: an item and the argument that all items share.
const PAIR: u8 = 0x92;

/// Appends a call. The arguments are `item` alone, or the pair of it and `argument`.
pub(super) fn encode_call(out: &mut Vec<u8>, task: &str, item: &[u8], argument: Option<&[u8]>) {
    out.push(CALL);
    out.extend_from_slice(task.as_bytes());
    out.push(0);
    if argument.is_some() {
        out.push(PAIR);
    }
    out.extend_from_slice(item);
    out.extend_from_slice(argument.unwrap_or_default());
}

/// Bytes of the frame of a call.
pub(super) fn call_len(task: &str, item: &[u8], argument: Option<&[u8]>) -> usize {
    task.len() + item.len() + argument.map_or(2, |argument| argument.len() + 3)
}

pub(super) fn encode_opened(out: &mut Vec<u8>) {
    out.push(OPENED);
}

impl<'a> Order<'a> {
    pub(super) fn decode(bytes: &'a [u8]) -> Option<Self> {
        match bytes.split_first()? {
            (&CALL, rest) => {
                let end = rest.iter().position(|&byte| byte == 0)?;
                Some(Self::Call {
                    task: std::str::from_utf8(&rest[..end]).ok()?,
                    arguments: &rest[end + 1..],
                })
            }
            (&OPENED, []) => Some(Self::Opened),
            _ => None,
        }
    }
}

impl<'a> Reply<'a> {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Done(result) => {
                out.push(DONE);
                out.extend_from_slice(result);
            }
            Self::DoneWithValues { handles, result } => {
                out.push(DONE_WITH_VALUES);
                // Numbers always encode, and memory takes what is written to it.
                let _ = rmp_serde::encode::write(out, handles);
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

    pub(super) fn decode(bytes: &'a [u8]) -> Option<Self> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let split = |bytes: &'a [u8]| {
            let end = bytes.iter().position(|&byte| byte == 0)?;
            Some((&bytes[..end], &bytes[end + 1..]))
        };
        let (&tag, rest) = bytes.split_first()?;
        Some(match tag {
            DONE => Self::Done(rest),
            DONE_WITH_VALUES => {
                let mut result = rest;
                let handles = rmp_serde::from_read(&mut result).ok()?;
                Self::DoneWithValues { handles, result }
            }
            PANICKED => {
                let (location, message) = split(rest)?;
                Self::Panicked {
                    location: text(location),
                    message: text(message),
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
        let handle = |text: &str| text.parse().unwrap();
        for reply in [
            Reply::Done(&[0, 1, 2]),
            Reply::DoneWithValues {
                handles: vec![
                    handle("shm:numpush-shm.1.00000000000000aa/1"),
                    handle("shm:numpush-shm.2.00000000000000bb/2"),
                ],
                result: &[0, 10],
            },
            Reply::Panicked {
                message: "no\0 sum".into(),
                location: "a.rs:1:2".into(),
            },
            Reply::Unknown,
            Reply::Unsendable("too long".into()),
        ] {
            let mut bytes = Vec::new();
            reply.encode(&mut bytes);
            assert_eq!(Reply::decode(&bytes), Some(reply));
        }
        for (argument, arguments) in [(None, &[0, 7][..]), (Some(&[9][..]), &[PAIR, 0, 7, 9][..])] {
            let mut bytes = Vec::new();
            encode_call(&mut bytes, "a::b", &[0, 7], argument);
            assert_eq!(bytes.len(), call_len("a::b", &[0, 7], argument));
            let task = "a::b";
            assert_eq!(Order::decode(&bytes), Some(Order::Call { task, arguments }));
        }
        let mut bytes = Vec::new();
        encode_opened(&mut bytes);
        assert_eq!(Order::decode(&bytes), Some(Order::Opened));
    }

    #[test]
    fn an_item_and_an_argument_are_a_pair_of_msgpack() {
        let item = rmp_serde::to_vec(&7_u64).unwrap();
        let argument = rmp_serde::to_vec("x").unwrap();
        let mut bytes = Vec::new();
        encode_call(&mut bytes, "f", &item, Some(&argument));
        assert_eq!(&bytes[3..], rmp_serde::to_vec(&(7_u64, "x")).unwrap());
    }

    #[test]
    fn other_bytes_are_no_reply_and_no_order() {
        assert_eq!(Reply::decode(&[]), None);
        assert_eq!(Reply::decode(&[9]), None);
        assert_eq!(Reply::decode(&[PANICKED, b'x']), None);
        assert_eq!(Reply::decode(&[DONE_WITH_VALUES, b'x', 0]), None);
        assert!(Order::decode(&[]).is_none());
        assert!(Order::decode(b"\0name without an end").is_none());
        assert!(Order::decode(&[OPENED, 0]).is_none());
    }
}
