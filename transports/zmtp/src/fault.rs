//! What a peer does wrong.

/// Why a connection cannot go on. Nothing that comes later can be understood.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The first bytes are not a greeting of ZMTP.
    #[error("it does not speak ZMTP: it began with {0:02x?}")]
    NotZmtp(Vec<u8>),
    /// The version is older than 3.0.
    #[error("it speaks version {0} of ZMTP, and 3 is the lowest that is spoken here")]
    Version(u8),
    /// The mechanism of the two sides differs.
    #[error("it wants the mechanism {theirs}, and this side {ours}")]
    Mechanism {
        /// Its mechanism.
        theirs: String,
        /// Ours.
        ours: &'static str,
    },
    /// The socket is of a kind that has no name here.
    #[error("there is no kind of socket with the name {0:?}")]
    UnknownKind(String),
    /// Sockets of these kinds do not talk to each other.
    #[error("it is a {theirs} socket, and does not fit a {ours} socket")]
    Kind {
        /// Kind of the peer.
        theirs: &'static str,
        /// Our kind.
        ours: &'static str,
    },
    /// The bytes break a rule of the protocol.
    #[error("{0}")]
    Violation(&'static str),
    /// A length is over its limit.
    #[error("{what} of {value} came, and the limit is {limit}")]
    OverLimit {
        /// What it measures, with its unit.
        what: &'static str,
        /// The length that it claims.
        value: u64,
        /// The most that is taken.
        limit: u64,
    },
    /// The peer refuses to go on.
    #[error("it refuses to go on: {0:?}")]
    Refused(String),
}
