//! What is not the message's own in its preamble.

/// What a session writes into the preamble of a message.
#[expect(
    clippy::exhaustive_structs,
    reason = "a field more is another preamble"
)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// Number of the message in its direction, from 1; 0 outside a session.
    pub id: u64,
    /// Number of the last message of the other direction that arrived; 0 if none did.
    pub ack: u64,
    /// Number of the peer's message that this one answers; 0 if it answers none.
    pub reply_to: u64,
    /// The caller's channel.
    pub channel: u32,
}
