//! What a mechanism does between the greetings and the first message.

use std::fmt::Debug;

use crate::fault::Fault;
use crate::properties::Properties;

/// One side of the commands between the greetings and the first message.
pub(crate) trait Handshake: Debug + Send + Sync {
    /// The peer's greeting came, and fits. Appends the frames that this side says to `says`; `ours` are its properties.
    fn begin(&mut self, ours: Properties<'_>, says: &mut Vec<u8>) -> Result<(), Fault>;

    /// The command with this body came. Appends the frames that answer it to `says`, and returns the properties of the peer once
    /// messages may go both ways.
    fn hear<'a>(
        &'a mut self,
        body: &'a [u8],
        ours: Properties<'_>,
        says: &mut Vec<u8>,
    ) -> Result<Option<Properties<'a>>, Fault>;
}
