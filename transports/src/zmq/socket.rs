//! The six kinds of sockets as one type.

use zeromq::{
    PubSocket, PullSocket, PushSocket, RepSocket, ReqSocket, Socket as _, SocketRecv as _,
    SocketSend as _, SubSocket, ZmqError, ZmqMessage,
};

/// The kind of socket on our side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pattern {
    /// Sends to one of the PULL peers in turn.
    Push,
    /// Receives from all PUSH peers.
    Pull,
    /// Sends to every SUB peer that is there.
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

    pub(super) fn sends(self) -> bool {
        !matches!(self, Self::Pull | Self::Sub)
    }

    /// Each side both sends and receives.
    pub(super) fn is_two_way(self) -> bool {
        matches!(self, Self::Req | Self::Rep)
    }
}

pub(super) enum Socket {
    Push(PushSocket),
    Pull(PullSocket),
    Pub(PubSocket),
    Sub(SubSocket),
    Req(ReqSocket),
    Rep(RepSocket),
}

/// Calls a method that every kind of socket has.
macro_rules! each {
    ($socket:expr, $inner:ident => $call:expr) => {
        match $socket {
            Socket::Push($inner) => $call,
            Socket::Pull($inner) => $call,
            Socket::Pub($inner) => $call,
            Socket::Sub($inner) => $call,
            Socket::Req($inner) => $call,
            Socket::Rep($inner) => $call,
        }
    };
}

impl Socket {
    pub(super) fn new(pattern: Pattern) -> Self {
        match pattern {
            Pattern::Push => Self::Push(PushSocket::new()),
            Pattern::Pull => Self::Pull(PullSocket::new()),
            Pattern::Pub => Self::Pub(PubSocket::new()),
            Pattern::Sub => Self::Sub(SubSocket::new()),
            Pattern::Req => Self::Req(ReqSocket::new()),
            Pattern::Rep => Self::Rep(RepSocket::new()),
        }
    }

    pub(super) async fn connect(&mut self, endpoint: &str) -> Result<(), ZmqError> {
        each!(self, socket => socket.connect(endpoint).await)
    }

    pub(super) async fn bind(&mut self, endpoint: &str) -> Result<zeromq::Endpoint, ZmqError> {
        each!(self, socket => socket.bind(endpoint).await)
    }

    /// Sends, if the pattern sends.
    pub(super) async fn send(&mut self, message: ZmqMessage) -> Option<Result<(), ZmqError>> {
        match self {
            Self::Push(socket) => Some(socket.send(message).await),
            Self::Pub(socket) => Some(socket.send(message).await),
            Self::Req(socket) => Some(socket.send(message).await),
            Self::Rep(socket) => Some(socket.send(message).await),
            Self::Pull(_) | Self::Sub(_) => None,
        }
    }

    /// Receives, if the pattern receives.
    pub(super) async fn recv(&mut self) -> Option<Result<ZmqMessage, ZmqError>> {
        match self {
            Self::Pull(socket) => Some(socket.recv().await),
            Self::Sub(socket) => Some(socket.recv().await),
            Self::Req(socket) => Some(socket.recv().await),
            Self::Rep(socket) => Some(socket.recv().await),
            Self::Push(_) | Self::Pub(_) => None,
        }
    }

    /// Asks a SUB socket's peers for every message.
    pub(super) async fn subscribe(&mut self) -> Result<(), ZmqError> {
        match self {
            Self::Sub(socket) => socket.subscribe("").await,
            _ => Ok(()),
        }
    }
}
