//! How a connection is secured: a file for each mechanism.
//!
//! The greetings name the mechanism, both the same. Then its [`Handshake`] says and hears commands until it knows the
//! properties of the peer.

mod null;

use std::fmt::Debug;

use crate::fault::Fault;
use crate::greeting::{Greeting, Mechanism};
use crate::properties::Properties;

/// What this side brings to secure a connection.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub enum Security {
    /// Nothing: whoever connects is welcome.
    Null,
}

impl Security {
    /// Its mechanism, which the peer must have too.
    pub fn mechanism(&self) -> Mechanism {
        match self {
            Self::Null => Mechanism::Null,
        }
    }

    /// The greeting of this side.
    pub fn greeting(&self) -> Greeting {
        let as_server = match self {
            Self::Null => false,
        };
        Greeting::new(self.mechanism(), as_server)
    }

    /// A handshake that has not begun.
    pub(crate) fn handshake(&self) -> Box<dyn Handshake> {
        match self {
            Self::Null => Box::new(null::Null),
        }
    }
}

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
