//! NULL: each side says READY, whenever it likes.

use crate::command::Command;
use crate::fault::Fault;
use crate::handshake::Handshake;
use crate::properties::Properties;

#[derive(Debug)]
pub(super) struct Null;

impl Handshake for Null {
    fn begin(&mut self, ours: Properties<'_>, says: &mut Vec<u8>) -> Result<(), Fault> {
        Command::Ready(ours).write(says);
        Ok(())
    }

    fn hear<'a>(
        &'a mut self,
        body: &'a [u8],
        _: Properties<'_>,
        _: &mut Vec<u8>,
    ) -> Result<Option<Properties<'a>>, Fault> {
        match Command::read(body)? {
            Command::Ready(properties) => Ok(Some(properties)),
            _ => Err(Fault::Violation("its first command is not READY")),
        }
    }
}
