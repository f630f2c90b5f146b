//! What a socket does with messages.

use numpush_zmtp::SocketKind;

/// The kind of socket on our side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pattern {
    /// Sends to one of the PULL peers in turn.
    Push,
    /// Receives from all PUSH peers.
    Pull,
    /// Sends to every SUB peer that wants it.
    Pub,
    /// Receives from all PUB peers.
    Sub,
    /// Sends a request, receives the reply.
    Req,
    /// Receives a request, sends the reply.
    Rep,
}

impl Pattern {
    pub(super) fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "push" => Self::Push,
            "pull" => Self::Pull,
            "pub" => Self::Pub,
            "sub" => Self::Sub,
            "req" => Self::Req,
            "rep" => Self::Rep,
            _ => return None,
        })
    }

    /// The pattern, as errors name it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Push => "a ZeroMQ PUSH socket",
            Self::Pull => "a ZeroMQ PULL socket",
            Self::Pub => "a ZeroMQ PUB socket",
            Self::Sub => "a ZeroMQ SUB socket",
            Self::Req => "a ZeroMQ REQ socket",
            Self::Rep => "a ZeroMQ REP socket",
        }
    }

    /// The pattern, as the wire names it.
    pub(super) fn kind(self) -> SocketKind {
        match self {
            Self::Push => SocketKind::Push,
            Self::Pull => SocketKind::Pull,
            Self::Pub => SocketKind::Pub,
            Self::Sub => SocketKind::Sub,
            Self::Req => SocketKind::Req,
            Self::Rep => SocketKind::Rep,
        }
    }

    pub(super) fn sends(self) -> bool {
        self.kind().sends()
    }

    pub(super) fn receives(self) -> bool {
        self.kind().receives()
    }

    /// Each side both sends and receives.
    pub(super) fn is_two_way(self) -> bool {
        self.sends() && self.receives()
    }
}
