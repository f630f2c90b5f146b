use std::fmt;
use std::io;
use std::time::Duration;

use numpush_message::{DecodeError, EncodeError};

/// Why a call on a link or an acceptor failed.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each field is named in the variant's message")]
pub enum Error {
    /// Caller: the message breaks a limit of the format.
    #[error("this message cannot be sent")]
    Message(#[source] EncodeError),
    /// Caller: the message is larger than the side named takes; nothing was sent.
    #[error("payload of {len} bytes is over the {limit} bytes that {whose} accepts in one message")]
    TooLarge {
        len: u64,
        limit: u64,
        whose: &'static str,
    },
    /// Caller: the medium cannot do it.
    #[error("{transport} cannot {operation}")]
    Unsupported {
        transport: &'static str,
        operation: &'static str,
    },
    /// Caller: the endpoint is not one this transport takes.
    #[error("endpoint {address:?}: {fault}")]
    Address {
        address: String,
        fault: &'static str,
    },
    /// Nothing happened for as long as the caller would wait. Nothing is lost: call again.
    #[error("{operation} timed out after {after:?}")]
    Timeout {
        operation: &'static str,
        after: Duration,
    },
    /// A record began and did not go on in time.
    #[error("{peer} sent a part of a message and then too little for {after:?}")]
    Stalled { peer: String, after: Duration },
    /// The peer has sent its last message.
    #[error("{peer} has closed the connection")]
    Closed { peer: String },
    /// The peer is gone without closing.
    #[error("{peer} is gone ({missing} bytes of a record were missing)")]
    Disconnected { peer: String, missing: u64 },
    /// The peer sent something that is no message.
    #[error("{peer} sent rubbish")]
    InvalidMessage { peer: String, source: DecodeError },
    /// The peer sent a record that has no place where it came.
    #[error("{peer} broke the session: {fault}")]
    ProtocolViolation { peer: String, fault: &'static str },
    /// The peer will not go on.
    #[error("{peer} refuses to go on: {reason}")]
    Refused { peer: String, reason: Refusal },
    /// One peer failed before its link was made; the others are not concerned.
    #[error("no link with {peer}")]
    Handshake { peer: String, source: Box<Self> },
    /// The peer runs as a user that may not connect.
    #[error("{peer} runs as user {uid}, and only user {allowed} may connect")]
    ForeignUser {
        peer: String,
        uid: u32,
        allowed: u32,
    },
    /// An earlier error has ended this link.
    #[error("the link with {peer} has failed before")]
    Failed { peer: String },
    /// The kernel said no.
    #[error("{operation} {endpoint}")]
    Io {
        operation: &'static str,
        endpoint: String,
        source: io::Error,
    },
    /// The ZeroMQ library said no.
    #[cfg(feature = "zmq")]
    #[error("ZeroMQ could not {operation} {endpoint}")]
    Zmq {
        operation: &'static str,
        endpoint: String,
        source: Box<zeromq::ZmqError>,
    },
}

/// Why a peer will not go on.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It does not speak our version, or took our bytes for rubbish.
    InvalidMessage,
    /// A message was larger than it accepts.
    TooLarge,
    /// Our user may not connect.
    User,
    /// It has too many connections.
    Busy,
    /// A reason this version does not know.
    Unknown(u32),
}

impl Refusal {
    pub(crate) fn to_wire(self) -> u32 {
        match self {
            Self::InvalidMessage => 1,
            Self::TooLarge => 2,
            Self::User => 3,
            Self::Busy => 4,
            Self::Unknown(code) => code,
        }
    }

    pub(crate) fn from_wire(code: u32) -> Self {
        match code {
            1 => Self::InvalidMessage,
            2 => Self::TooLarge,
            3 => Self::User,
            4 => Self::Busy,
            code => Self::Unknown(code),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidMessage => f.write_str("it does not understand what we sent"),
            Self::TooLarge => f.write_str("the message is larger than it accepts"),
            Self::User => f.write_str("our user may not connect"),
            Self::Busy => f.write_str("it has too many connections"),
            Self::Unknown(code) => write!(f, "reason {code}"),
        }
    }
}

impl Error {
    /// True if the link can still be used after this error.
    pub fn is_recoverable(&self) -> bool {
        matches!(
            self,
            Self::Timeout { .. }
                | Self::TooLarge { .. }
                | Self::Message(_)
                | Self::Unsupported { .. }
        )
    }

    pub(crate) fn io(operation: &'static str, endpoint: &str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            operation,
            endpoint: endpoint.to_owned(),
            source,
        }
    }
}
