//! A message on its way out, for one receiver or for many.

use numpush_message::{EncodeError, Encoder, Flags, LastHead, Message, Prepared};

/// What a call that sends is given.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outgoing<'m> {
    /// A message for this receiver.
    Own(&'m Message<'m>),
    /// One that was encoded for others too.
    Prepared(&'m Prepared<'m>),
}

impl<'m> Outgoing<'m> {
    pub(super) fn message(self) -> &'m Message<'m> {
        match self {
            Self::Own(message) => message,
            Self::Prepared(prepared) => prepared.message(),
        }
    }

    /// The record, before its session numbers it.
    pub(super) fn encoder(
        self,
        flags: Flags,
        last: &mut LastHead,
    ) -> Result<Encoder<'m>, EncodeError> {
        match self {
            Self::Own(message) => last.encoder(message, flags),
            Self::Prepared(prepared) => Ok(prepared.encoder(flags)),
        }
    }
}

impl<'m> From<&'m Message<'m>> for Outgoing<'m> {
    fn from(message: &'m Message<'m>) -> Self {
        Self::Own(message)
    }
}

impl<'m> From<&'m Prepared<'m>> for Outgoing<'m> {
    fn from(prepared: &'m Prepared<'m>) -> Self {
        Self::Prepared(prepared)
    }
}
