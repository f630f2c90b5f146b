//! What a peer may make this side hold.

/// Lengths that a peer may not exceed. All are checked before memory is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the frames of one message together.
    pub message: u64,
    /// Frames of one message.
    pub frames: u32,
    /// Bytes of a command before the handshake is done. Those of honest peers have a hundred or two.
    pub handshake: u64,
    /// Bytes of a command after it. A subscription is one.
    pub command: u64,
}

impl Default for Limits {
    /// Messages of 1 GiB in 1,024 frames, 2 KiB in the handshake, and commands of 4 KiB.
    fn default() -> Self {
        Self {
            message: 1 << 30,
            frames: 1024,
            handshake: 2 << 10,
            command: 4 << 10,
        }
    }
}
