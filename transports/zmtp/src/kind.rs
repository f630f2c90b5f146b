//! Kinds of sockets.

use std::fmt;
use std::str::FromStr;

use crate::fault::Fault;

/// What a socket does with messages, and with whom it may talk.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SocketKind {
    /// One peer, both ways.
    Pair,
    /// Sends each message to all peers that subscribe to its beginning.
    Pub,
    /// Receives what it subscribes to.
    Sub,
    /// Sends a request, then receives its answer.
    Req,
    /// Receives a request, then sends its answer.
    Rep,
    /// Sends to its peers in turn, and receives from all of them.
    Dealer,
    /// Receives from all peers, and sends to the one that the first frame names.
    Router,
    /// Receives from all peers in turn.
    Pull,
    /// Sends to its peers in turn.
    Push,
    /// As [`Self::Pub`], and receives the subscriptions as messages.
    XPub,
    /// As [`Self::Sub`], and sends subscriptions as messages.
    XSub,
}

impl SocketKind {
    /// Every kind.
    pub const ALL: [Self; 11] = [
        Self::Pair,
        Self::Pub,
        Self::Sub,
        Self::Req,
        Self::Rep,
        Self::Dealer,
        Self::Router,
        Self::Pull,
        Self::Push,
        Self::XPub,
        Self::XSub,
    ];

    /// Its name on the wire: `PUSH`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pair => "PAIR",
            Self::Pub => "PUB",
            Self::Sub => "SUB",
            Self::Req => "REQ",
            Self::Rep => "REP",
            Self::Dealer => "DEALER",
            Self::Router => "ROUTER",
            Self::Pull => "PULL",
            Self::Push => "PUSH",
            Self::XPub => "XPUB",
            Self::XSub => "XSUB",
        }
    }

    /// True if the two may talk to each other.
    ///
    /// ```
    /// use numpush_zmtp::SocketKind;
    ///
    /// assert!(SocketKind::Push.fits(SocketKind::Pull));
    /// assert!(!SocketKind::Push.fits(SocketKind::Sub));
    /// ```
    pub fn fits(self, peer: Self) -> bool {
        let peers: &[Self] = match self {
            Self::Pair => &[Self::Pair],
            Self::Pub | Self::XPub => &[Self::Sub, Self::XSub],
            Self::Sub | Self::XSub => &[Self::Pub, Self::XPub],
            Self::Req => &[Self::Rep, Self::Router],
            Self::Rep => &[Self::Req, Self::Dealer],
            Self::Dealer => &[Self::Rep, Self::Dealer, Self::Router],
            Self::Router => &[Self::Req, Self::Dealer, Self::Router],
            Self::Pull => &[Self::Push],
            Self::Push => &[Self::Pull],
        };
        peers.contains(&peer)
    }

    /// True if messages go from this kind to its peers.
    pub fn sends(self) -> bool {
        !matches!(self, Self::Sub | Self::Pull)
    }

    /// True if messages come to this kind from its peers.
    pub fn receives(self) -> bool {
        !matches!(self, Self::Pub | Self::Push)
    }

    /// True if its peers tell it what they subscribe to.
    pub fn publishes(self) -> bool {
        matches!(self, Self::Pub | Self::XPub)
    }

    /// True if it subscribes.
    pub fn subscribes(self) -> bool {
        matches!(self, Self::Sub | Self::XSub)
    }
}

impl fmt::Display for SocketKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for SocketKind {
    type Err = Fault;

    /// Reads a name in capitals, as the wire has it.
    fn from_str(name: &str) -> Result<Self, Fault> {
        let mut kinds = Self::ALL.into_iter();
        kinds
            .find(|kind| kind.name() == name)
            .ok_or_else(|| Fault::UnknownKind(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_fits_is_fitted() {
        for one in SocketKind::ALL {
            assert_eq!(one.name().parse(), Ok(one));
            for other in SocketKind::ALL {
                assert_eq!(one.fits(other), other.fits(one), "{one} and {other}");
            }
        }
        let pairs = SocketKind::ALL.iter().flat_map(|one| {
            let fits = move |other: &&SocketKind| one.fits(**other);
            SocketKind::ALL.iter().filter(fits)
        });
        assert_eq!(pairs.count(), 21);
    }
}
