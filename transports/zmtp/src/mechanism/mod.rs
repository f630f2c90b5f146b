//! How a connection is secured: a file or a folder for each mechanism.
//!
//! The greetings name the mechanism, both the same. Then its [`Handshake`] says and hears commands until it knows the
//! properties of the peer.

#[cfg(feature = "curve")]
mod curve;
mod null;
mod plain;
mod step;

#[cfg(feature = "curve")]
pub use curve::{Allowed, CurveClient, CurveServer};
pub use plain::Login;

use std::sync::Arc;

use crate::greeting::{Greeting, Mechanism};
use crate::handshake::Handshake;

/// What this side brings to secure a connection.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub enum Security {
    /// Nothing: whoever connects is welcome.
    Null,
    /// A name and a password, which the server knows. Everybody on the way reads both.
    PlainClient(Login),
    /// The names and passwords of who may come in.
    PlainServer(Arc<[Login]>),
    /// A key, and the key of the server. What is said is sealed.
    #[cfg(feature = "curve")]
    CurveClient(CurveClient),
    /// A key, which the clients know. What is said is sealed.
    #[cfg(feature = "curve")]
    CurveServer(CurveServer),
}

impl Security {
    /// Its mechanism, which the peer must have too.
    pub fn mechanism(&self) -> Mechanism {
        match self {
            Self::Null => Mechanism::Null,
            Self::PlainClient(_) | Self::PlainServer(_) => Mechanism::Plain,
            #[cfg(feature = "curve")]
            Self::CurveClient(_) | Self::CurveServer(_) => Mechanism::Curve,
        }
    }

    /// True if each frame is sealed, of either side.
    pub fn seals(&self) -> bool {
        self.mechanism() == Mechanism::Curve
    }

    /// True if a peer comes in only with a key that this side knows, and that is proved. A name and a password is none: everybody on
    /// the way can read them.
    pub fn knows_its_peers(&self) -> bool {
        match self {
            Self::Null | Self::PlainClient(_) | Self::PlainServer(_) => false,
            #[cfg(feature = "curve")]
            Self::CurveClient(_) => true,
            #[cfg(feature = "curve")]
            Self::CurveServer(server) => !server.lets_anybody_in(),
        }
    }

    /// The greeting of this side.
    pub fn greeting(&self) -> Greeting {
        let as_server = match self {
            Self::Null | Self::PlainClient(_) => false,
            Self::PlainServer(_) => true,
            #[cfg(feature = "curve")]
            Self::CurveClient(_) => false,
            #[cfg(feature = "curve")]
            Self::CurveServer(_) => true,
        };
        Greeting::new(self.mechanism(), as_server)
    }

    /// A handshake that has not begun.
    pub(crate) fn handshake(&self) -> Box<dyn Handshake> {
        match self {
            Self::Null => Box::new(null::Null),
            Self::PlainClient(login) => Box::new(plain::Client::new(login.clone())),
            Self::PlainServer(logins) => Box::new(plain::Server::new(logins.clone())),
            #[cfg(feature = "curve")]
            Self::CurveClient(client) => Box::new(curve::Client::new(client.clone(), None)),
            #[cfg(feature = "curve")]
            Self::CurveServer(server) => Box::new(curve::Server::new(server.clone(), None)),
        }
    }

    /// The same, with the random bytes that it uses up.
    #[cfg(feature = "seed")]
    pub(crate) fn seeded(&self, seed: crate::keys::Seed) -> Box<dyn Handshake> {
        match self {
            Self::CurveClient(client) => Box::new(curve::Client::new(client.clone(), Some(seed))),
            Self::CurveServer(server) => Box::new(curve::Server::new(server.clone(), Some(seed))),
            _ => self.handshake(),
        }
    }
}
