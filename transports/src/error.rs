//! Why a call failed: one type for every call of this crate, with the blame in the variant.

use std::error::Error as _;
use std::fmt;
use std::io;
use std::time::Duration;

use numpush_message::{AllocError, DecodeError, EncodeError};
use numpush_session::Refusal;

use crate::endpoint::{EndpointError, Scheme};
#[cfg(feature = "zmq")]
use crate::keys::KeyFileError;

/// Why a call failed.
///
/// Its `Debug` prints what its `Display` prints, followed by the causes: `main` prints the `Debug` of the error it
/// returns, and that text is for users.
#[non_exhaustive]
#[derive(thiserror::Error)]
pub enum Error {
    /// Caller: the text is no endpoint, or not one that its transport takes.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// Caller: the endpoint's transport was left out when this crate was built.
    #[error("the transport of scheme {scheme} is not in this build")]
    Disabled {
        /// The scheme.
        scheme: Scheme,
    },
    /// Caller: a file with keys cannot be used.
    #[cfg(feature = "zmq")]
    #[error(transparent)]
    Keys(#[from] KeyFileError),
    /// Caller: the message breaks a limit of the format. Nothing was sent.
    #[error("this message cannot be sent")]
    Message(#[source] EncodeError),
    /// Caller: the message is larger than one side takes. Nothing was sent.
    #[error("payload of {len} bytes is over the {limit} bytes that {whose} accepts in one message")]
    TooLarge {
        /// Bytes of the payload.
        len: u64,
        /// Bytes that the side takes.
        limit: u64,
        /// The side: `this side` or `the peer`.
        whose: &'static str,
    },
    /// Caller: the medium cannot do it.
    #[error("{transport} cannot {operation}: {reason}")]
    Unsupported {
        /// What cannot do it.
        transport: &'static str,
        /// What was asked for.
        operation: Operation,
        /// Why not.
        reason: &'static str,
    },
    /// Nothing happened for as long as the caller would wait. Nothing is lost: call again.
    #[error("{peer}: {operation} timed out after {after:?}")]
    Timeout {
        /// The call.
        operation: Operation,
        /// The peer, or the listener's own address.
        peer: String,
        /// The timeout.
        after: Duration,
    },
    /// The call ended in the middle of a message. Nothing is lost: what is left of it is kept, without the caller's memory,
    /// and goes with the next calls. Sent again it would arrive twice.
    #[error("{peer}: message {id} is not written whole yet; the next calls go on with it")]
    Unfinished {
        /// The peer.
        peer: String,
        /// Number of the message.
        id: u64,
        /// Payload bytes that our own code copied, as in [`Transfer::copied`](crate::Transfer::copied): what is left of it is
        /// among them.
        copied: u64,
        /// What ended the call.
        source: Box<Self>,
    },
    /// So much waits for the peer already that nothing more is queued. Nothing was sent and nothing is lost: wait until it
    /// takes some, or end the connection.
    #[error(
        "{queued} bytes wait for {peer}, and another message would be over the limit of {limit}"
    )]
    QueueFull {
        /// The peer.
        peer: String,
        /// Bytes that wait.
        queued: u64,
        /// Most bytes that may wait.
        limit: u64,
    },
    /// Caller: a ROUTER has no peer of this name now. Nothing was sent.
    #[error("no peer is called {name:?}")]
    UnknownPeer {
        /// The name, with escapes for bytes that are no ASCII.
        name: String,
    },
    /// Caller: no connection or listener has this key, or it has ended.
    #[error("{key} is no connection or listener of this poller, or has ended")]
    UnknownKey {
        /// The key.
        key: String,
    },
    /// Another thread cancelled the call. Nothing is lost: call again.
    #[error("the call was cancelled while it waited for {peer}")]
    Cancelled {
        /// The peer.
        peer: String,
    },
    /// The header of the message is longer than the peer takes. Nothing was sent.
    #[error("header of {len} bytes is over the {limit} bytes that the peer accepts")]
    HeaderTooLong {
        /// Bytes of the header.
        len: u64,
        /// Bytes that the peer takes.
        limit: u64,
    },
    /// The peer sent more than it had credit for.
    #[error("{peer} sent a record of {charge} bytes with {left} bytes of credit left")]
    OverCredit {
        /// The peer.
        peer: String,
        /// Bytes of the record.
        charge: u64,
        /// Credit that was left.
        left: u64,
    },
    /// The two sides have no version of the format in common.
    #[error("{peer} speaks versions {} to {} of the format, and this side {} to {}", theirs.0, theirs.1, ours.0, ours.1)]
    Version {
        /// The peer.
        peer: String,
        /// Lowest and highest version of the peer.
        theirs: (u8, u8),
        /// Lowest and highest version of this side.
        ours: (u8, u8),
    },
    /// A record began and did not end in time.
    #[error("{peer} began a message and did not finish it within {after:?}")]
    Stalled {
        /// The peer.
        peer: String,
        /// How long the record may take.
        after: Duration,
    },
    /// The peer has sent its last message.
    #[error("{peer} has closed the connection")]
    Closed {
        /// The peer.
        peer: String,
    },
    /// The peer is gone without closing.
    #[error("{peer} is gone ({missing} bytes of a record were missing)")]
    Disconnected {
        /// The peer.
        peer: String,
        /// Bytes that the record at hand still lacked, as far as that is known.
        missing: u64,
    },
    /// The peer sent something that is no message.
    #[error("{peer} sent something that is no message")]
    InvalidMessage {
        /// The peer, or the file.
        peer: String,
        /// What is wrong with the bytes.
        source: DecodeError,
    },
    /// One of the peers of a ZeroMQ socket sent something that is no message of ours, or a larger one than this side takes. It is
    /// skipped, and that peer and the others go on: call again.
    #[error("{peer} sent something that is no message, which is skipped")]
    Skipped {
        /// The peer.
        peer: String,
        /// What is wrong with the bytes.
        source: DecodeError,
    },
    /// There is no room here for the payload of a message. The peer is not to blame and nothing is lost: the message
    /// waits, and what the peer sends after it too. Make room, and call again.
    ///
    /// Not so if the allocator would never have the room ([`AllocError::is_permanent`]): the peer is told, and the
    /// connection ends.
    #[error("no room for a message of {peer}")]
    NoRoom {
        /// The peer.
        peer: String,
        /// How much was asked for, and how much there is.
        source: AllocError,
    },
    /// The kernel has no memory for a call. The peer is not to blame, nothing was sent and nothing is lost: call again.
    #[error("the kernel has no memory to {} {peer}", operation.phrase())]
    NoMemory {
        /// The call.
        operation: Operation,
        /// The peer.
        peer: String,
        /// The kernel's error.
        source: io::Error,
    },
    /// The peer sent a record that is not allowed at this point.
    #[error("{peer} broke the protocol: {fault}")]
    ProtocolViolation {
        /// The peer.
        peer: String,
        /// What it did.
        fault: &'static str,
    },
    /// The peer refuses to go on.
    #[error("{peer} refuses to go on: {reason}")]
    Refused {
        /// The peer.
        peer: String,
        /// The reason it gave.
        reason: Refusal,
    },
    /// Caller: a value is no message, or a message is not the value asked for.
    ///
    /// `?` converts the data model's errors into it, so that a function that converts and sends returns one type. To match
    /// on the cause, match before `?`.
    #[error(transparent)]
    Value(Box<dyn std::error::Error + Send + Sync>),
    /// The handshake with a peer failed. At a listener it is not an error of accept, which goes on: see
    /// [`Listener::take_refused`](crate::Listener::take_refused).
    #[error("no connection with {peer}")]
    Handshake {
        /// The peer.
        peer: String,
        /// What went wrong.
        source: Box<Self>,
    },
    /// There were more of something than may be.
    #[error("over the limit of {limit} {what}")]
    OverLimit {
        /// What is limited.
        what: &'static str,
        /// How much of it there may be.
        limit: u64,
    },
    /// The peer runs as a user that may not connect.
    #[error("{peer} runs as user {uid}, and only user {allowed} may connect")]
    ForeignUser {
        /// The peer.
        peer: String,
        /// Its user.
        uid: u32,
        /// Our user.
        allowed: u32,
    },
    /// This process was forked from the one that the connection belongs to, and shares its socket. Connect anew.
    #[error("the connection with {peer} belongs to the process that this one was forked from")]
    Forked {
        /// The peer.
        peer: String,
    },
    /// An earlier error has ended this connection.
    #[error("the connection with {peer} has failed before")]
    Failed {
        /// The peer.
        peer: String,
    },
    /// The kernel, or the library of a transport, refused.
    #[error("cannot {} {endpoint}", operation.phrase())]
    Io {
        /// What was refused.
        operation: Operation,
        /// The endpoint, the peer or the file.
        endpoint: String,
        /// Its error.
        source: io::Error,
    },
}

/// What a call was doing when it failed.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Connecting to a listener.
    Connect,
    /// Starting to listen.
    Listen,
    /// Waiting for a connection.
    Accept,
    /// Preparing a socket or a runtime.
    SetUp,
    /// Waiting for, or checking, the first record of the peer.
    Handshake,
    /// Sending a message.
    Send,
    /// Receiving a message.
    Recv,
    /// Telling peers which messages are wanted.
    Subscribe,
    /// Waiting until the peer has every message.
    Flush,
    /// Closing a connection.
    Close,
    /// Taking a connection apart into its directions.
    Split,
    /// Ending a call from another thread.
    Cancel,
    /// Waiting for a socket.
    Wait,
    /// Mapping memory of the peer.
    Map,
    /// Opening a file.
    Open,
    /// Reading a file.
    Read,
    /// Writing a file.
    Write,
    /// Removing a file.
    Remove,
}

impl Operation {
    /// The operation in one word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Listen => "listen",
            Self::Accept => "accept",
            Self::SetUp => "set up",
            Self::Handshake => "handshake",
            Self::Send => "send",
            Self::Recv => "recv",
            Self::Subscribe => "subscribe",
            Self::Flush => "flush",
            Self::Close => "close",
            Self::Split => "split",
            Self::Cancel => "cancel",
            Self::Wait => "wait",
            Self::Map => "map",
            Self::Open => "open",
            Self::Read => "read",
            Self::Write => "write",
            Self::Remove => "remove",
        }
    }

    /// The operation with its preposition, before its object.
    fn phrase(self) -> &'static str {
        match self {
            Self::Connect => "connect to",
            Self::Listen => "listen at",
            Self::Accept => "accept at",
            Self::Handshake => "shake hands with",
            Self::Send => "send to",
            Self::Recv => "receive from",
            Self::Wait => "wait for",
            Self::Map => "map memory of",
            operation => operation.name(),
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Error {
    /// True if the peer has sent its last message and closed: the good end of a connection.
    pub fn is_closed(&self) -> bool {
        matches!(self, Self::Closed { .. })
    }

    /// True if nothing happened for as long as the caller would wait. The same call may be made again.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Timeout { .. })
    }

    /// True if the connection can still be used after this error.
    pub fn is_recoverable(&self) -> bool {
        match self {
            Self::Timeout { .. }
            | Self::TooLarge { .. }
            | Self::Message(_)
            | Self::Unfinished { .. }
            | Self::Cancelled { .. }
            | Self::HeaderTooLong { .. }
            | Self::NoMemory { .. }
            | Self::QueueFull { .. }
            | Self::UnknownPeer { .. }
            | Self::Skipped { .. }
            | Self::Unsupported { .. } => true,
            Self::NoRoom { source, .. } => !source.is_permanent(),
            _ => false,
        }
    }

    /// The error of bytes that could not be read: the fault of whoever sent them, but for a want of room here.
    pub(crate) fn invalid(peer: &str, source: DecodeError) -> Self {
        let peer = peer.to_owned();
        match source {
            DecodeError::Alloc(source) => Self::NoRoom { peer, source },
            source => Self::InvalidMessage { peer, source },
        }
    }

    pub(crate) fn io(operation: Operation, endpoint: &str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            operation,
            endpoint: endpoint.to_owned(),
            source,
        }
    }
}

macro_rules! value_errors {
    ($($(#[$feature:meta])? $error:ident),*) => {
        $($(#[$feature])? impl From<numpush_message::$error> for Error {
            fn from(error: numpush_message::$error) -> Self {
                Self::Value(Box::new(error))
            }
        })*
    };
}

value_errors!(
    ArrayError,
    ColumnError,
    DecodeError,
    DtypeError,
    EncodeError,
    FrameError,
    NameError,
    NotDense,
    #[cfg(feature = "ndarray")]
    ViewError,
    #[cfg(feature = "arrow")]
    ArrowError
);

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")?;
        let mut cause = self.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_of_main_is_a_sentence_with_its_causes() {
        let peer = || "tcp://127.0.0.1:7".to_owned();
        let refused =
            Error::io(Operation::Connect, &peer())(io::ErrorKind::ConnectionRefused.into());
        let error = Error::Handshake {
            peer: peer(),
            source: Box::new(refused),
        };
        assert_eq!(
            format!("{error:?}"),
            "no connection with tcp://127.0.0.1:7: cannot connect to tcp://127.0.0.1:7: \
             connection refused"
        );
    }

    #[test]
    fn a_timeout_names_the_peer_and_is_recoverable() {
        let error = Error::Timeout {
            operation: Operation::Recv,
            peer: "unix:@a".into(),
            after: Duration::from_millis(1500),
        };
        assert_eq!(error.to_string(), "unix:@a: recv timed out after 1.5s");
        assert!(error.is_timeout() && error.is_recoverable() && !error.is_closed());
    }
}
