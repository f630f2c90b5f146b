//! The rules of a numpush session, without I/O: bytes in, bytes out, and what they mean.
//!
//! A session has two directions, and each is a value of its own, so that two threads can drive them:
//!
//! - [`Inbound`] takes bytes that came and returns [`Arrival`]s: messages, and what the peer says about ours. It knows the
//!   order of messages, the credit that the peer has, and how long a record may take.
//! - [`Outbound`] says what is to be written next, and learns how much of it was. It knows our numbers, the credit that we
//!   have, what is on its way, and what we owe the peer: acknowledgements, credit, releases.
//!
//! Neither makes a system call, holds a lock or reads a clock: the caller brings the time. Each [`Arrival`] is shown to the
//! other direction by [`Outbound::hear`], and what [`Inbound::debt`] returns by [`Outbound::owe`]; that is all they share.
//! `docs/wire.md` has the format, section "Session" the rules.
//!
//! Descriptors are of any type `D`: an owned descriptor in a socket driver, a number in a simulation.
#![forbid(unsafe_code)]

mod config;
mod fault;
mod inbound;
mod numbers;
mod outbound;
mod receipt;
mod refusal;

pub use config::{Acknowledge, Config};
pub use fault::Fault;
pub use inbound::{Arrival, Debt, Event, Inbound};
pub use outbound::{Blocked, Front, Outbound, OutboundStatus, Spent, Tag};
pub use receipt::{Confirmations, Receipt};
pub use refusal::Refusal;
