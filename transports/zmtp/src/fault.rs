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
    #[error("it wants the mechanism {theirs:?}, and this side {ours}")]
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
    /// Its name and password are not known.
    #[error("it shows the name {0:?}, and no password that belongs to it")]
    Login(String),
    /// A box cannot be opened: it was sealed with another key or for another connection, or was changed on its way.
    #[error("its {0} cannot be opened: it was sealed with another key, or changed")]
    Sealed(&'static str),
    /// A key is of low order: everybody agrees with it on the same secret.
    #[error("the key {0} is of low order, and keeps nothing secret")]
    WeakKey(String),
    /// Its key vouches for another connection than this one.
    #[error("it vouches for the key of another connection, or for another server")]
    Vouch,
    /// It brings back another cookie than it was given: it repeats what somebody said elsewhere.
    #[error("it brings a cookie that it was not given")]
    Cookie,
    /// The number of a box does not rise: it is an old one, sent again.
    #[error("a box with the number {number} came after one with {last}")]
    Repeated {
        /// The number that it has.
        number: u64,
        /// The number of the last box.
        last: u64,
    },
    /// The kernel has no random bytes for the keys of this connection, which is not the fault of the peer.
    #[error("the kernel gives no random bytes for the keys of the connection")]
    NoRandom,
    /// It has proved its key, as Z85, and no client with this key is allowed.
    #[error("no client with the key {0} is allowed")]
    NotAllowed(String),
    /// The peer refuses to go on.
    #[error("it refuses to go on: {0:?}")]
    Refused(String),
}

/// `what` of `value` bytes, of which `limit` are allowed.
pub(crate) fn within(what: &'static str, value: u64, limit: u64) -> Result<(), Fault> {
    if value > limit {
        return Err(over(what, value, limit));
    }
    Ok(())
}

pub(crate) fn over(what: &'static str, value: u64, limit: u64) -> Fault {
    Fault::OverLimit { what, value, limit }
}
