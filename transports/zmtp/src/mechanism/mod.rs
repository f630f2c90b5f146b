//! How a connection is secured: a file for each mechanism.
//!
//! The greetings name the mechanism, both the same. Then its [`Handshake`] says and hears commands until it knows the
//! properties of the peer.

mod null;

use crate::greeting::{Greeting, Mechanism};
use crate::handshake::Handshake;

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
