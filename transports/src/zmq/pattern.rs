//! What a socket does with messages.

pub(super) use numpush_zmtp::SocketKind as Pattern;

/// The kind that an endpoint names: those that a connection can be, which sends and receives no frames beside its messages.
pub(super) fn parse(text: &str) -> Option<Pattern> {
    Some(match text {
        "push" => Pattern::Push,
        "pull" => Pattern::Pull,
        "pub" => Pattern::Pub,
        "sub" => Pattern::Sub,
        "req" => Pattern::Req,
        "rep" => Pattern::Rep,
        "pair" => Pattern::Pair,
        "dealer" => Pattern::Dealer,
        _ => return None,
    })
}

/// The kind, as errors name it.
pub(super) fn name(pattern: Pattern) -> &'static str {
    match pattern {
        Pattern::Push => "a ZeroMQ PUSH socket",
        Pattern::Pull => "a ZeroMQ PULL socket",
        Pattern::Pub => "a ZeroMQ PUB socket",
        Pattern::Sub => "a ZeroMQ SUB socket",
        Pattern::Req => "a ZeroMQ REQ socket",
        Pattern::Rep => "a ZeroMQ REP socket",
        Pattern::Pair => "a ZeroMQ PAIR socket",
        Pattern::Dealer => "a ZeroMQ DEALER socket",
        Pattern::Router => "a ZeroMQ ROUTER socket",
        Pattern::XPub => "a ZeroMQ XPUB socket",
        Pattern::XSub => "a ZeroMQ XSUB socket",
        _ => "a ZeroMQ socket",
    }
}

/// True if what a peer has not got whole goes to another one, or to itself when it is back.
pub(super) fn hands_on(pattern: Pattern) -> bool {
    matches!(pattern, Pattern::Push | Pattern::Dealer | Pattern::Pair)
}
