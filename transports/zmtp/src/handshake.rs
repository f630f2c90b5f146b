//! What a mechanism does between the greetings and the first message.

use std::fmt::Debug;

use crate::fault::Fault;
use crate::properties::Properties;
use crate::seal::{Opening, Sealing};

/// One side of the commands between the greetings and the first message.
pub(crate) trait Handshake: Debug + Send + Sync {
    /// The peer's greeting came, and fits. Appends the frames that this side says to `says`; `ours` are its properties.
    fn begin(&mut self, ours: Properties<'_>, says: &mut Vec<u8>) -> Result<(), Fault> {
        let _ = (ours, says);
        Ok(())
    }

    /// The command with this body came. Appends the frames that answer it to `says`, and returns the properties of the peer once
    /// messages may go both ways. What was appended before an error is written before the connection ends. After an error, and
    /// after the properties, it hears nothing more.
    fn hear<'a>(
        &'a mut self,
        body: &'a [u8],
        ours: Properties<'_>,
        says: &mut Vec<u8>,
    ) -> Result<Option<Properties<'a>>, Fault>;

    /// What opens the frames of the peer, to be asked for once when messages may come. `None` for a mechanism that does not seal.
    fn opening(&mut self) -> Option<Opening> {
        None
    }

    /// What seals the frames of this side, to be asked for once when messages may go.
    fn sealing(&mut self) -> Option<Sealing> {
        None
    }

    /// Who the peer has proved to be: its name, or its key as Z85. `None` for a mechanism that does not ask.
    fn peer(&self) -> Option<String> {
        None
    }
}
