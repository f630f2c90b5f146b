/// Why a message cannot begin.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocked {
    /// The peer's hello has not come.
    Greeting,
    /// The peer must take messages first: it has granted no more credit.
    Credit,
    /// Messages must be acknowledged first: our own window is full.
    Window,
    /// What waits must be written first: another message, or the rest of one.
    Busy,
    /// The message is larger than the peer accepts.
    TooLarge {
        /// Bytes of its payload.
        len: u64,
        /// What the peer accepts.
        limit: u64,
    },
    /// Its header is longer than the peer accepts.
    HeaderTooLong {
        /// Bytes of the header.
        len: u64,
        /// What the peer accepts.
        limit: u64,
    },
    /// We have closed.
    Closed,
    /// The peer cannot be reached.
    Broken,
}
