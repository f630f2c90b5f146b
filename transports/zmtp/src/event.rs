//! What comes, one by one.

use crate::command::Command;
use crate::frame::FrameHead;
use crate::greeting::Greeting;
use crate::kind::SocketKind;
use crate::properties::Properties;

/// What the peer has said.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// Its first bytes. [`Inbound::says`](crate::Inbound::says) has what answers them.
    Greeting(Greeting),
    /// A command of the handshake, which goes on: [`Inbound::says`](crate::Inbound::says) has what answers it.
    Handshake,
    /// It is ready: its kind of socket fits, and messages may go both ways.
    Ready {
        /// Its kind of socket.
        kind: SocketKind,
        /// What else it says, its identity for one.
        properties: Properties<'a>,
    },
    /// A command after the handshake.
    Command(Command<'a>),
    /// A frame of a message begins. Its body is to be taken, by [`Inbound::take`](crate::Inbound::take) or [`Inbound::landed`](crate::Inbound::landed), before the next event comes.
    Frame(FrameHead),
    /// A sealed frame begins that is longer than what is read ahead. Its body, of so many bytes, is to be taken as that of a frame, and
    /// then to be opened by [`Inbound::open`](crate::Inbound::open), which says what it is. Shorter ones come as [`Self::Frame`] and [`Self::Command`].
    Sealed(u64),
}
