//! The mechanism CURVE ([26/CURVEZMQ]): each side proves its key, and every frame is sealed.
//!
//! A client knows the key of its server, S. Each side makes a key for this connection alone, C' and S', so that frames kept
//! today cannot be opened with keys stolen tomorrow.
//!
//! ```text
//! client                                                     server
//! HELLO     C', 64 zeros sealed by c' for S                  →
//!        ←  WELCOME   S' and a cookie, sealed by s for C'
//! INITIATE  cookie; C, vouch and properties by c' for S'     →     vouch: C' and S, sealed by c for S'
//!        ←  READY     properties, sealed by s' for C'
//! MESSAGE   flags and data, sealed by c' for S'             ↔
//! ```
//!
//! RFC 26 lets a server forget C' and s' and find them in the cookie. Over a stream there is a state for each connection
//! anyway: the cookie here is 96 random bytes, which the client brings back.
//!
//! [26/CURVEZMQ]: https://rfc.zeromq.org/spec/26/

mod client;
mod server;
mod traffic;

pub(super) use client::Client;
pub use client::CurveClient;
pub(super) use server::Server;
pub use server::{Allowed, CurveServer};

use crate::cipher::{Agreed, Nonce};
use crate::fault::Fault;
use crate::keys::{PublicKey, SecretKey, Seed};

/// Bytes of a cookie.
const COOKIE: usize = 96;

/// The seed of a connection: the one that a test gave, else a new one.
fn seed(given: &mut Option<Seed>) -> Result<Seed, Fault> {
    match given.take() {
        Some(seed) => Ok(seed),
        None => Seed::generate().map_err(|_| Fault::NoRandom),
    }
}

/// What the owners of `ours` and `theirs` agree on.
fn agree(ours: &SecretKey, theirs: &PublicKey) -> Result<Agreed, Fault> {
    Agreed::new(ours.bytes(), theirs.bytes()).ok_or_else(|| Fault::WeakKey(theirs.to_string()))
}

/// What is used once with a key, of a text of 16 bytes and a number that rises.
fn numbered(text: &[u8; 16], number: u64) -> Nonce {
    join(text, &number.to_be_bytes())
}

/// What is used once with a key, of a text of 8 bytes and 16 random ones.
fn random(text: &[u8; 8], once: &[u8; 16]) -> Nonce {
    join(text, once)
}

fn join(text: &[u8], rest: &[u8]) -> Nonce {
    let mut bytes = text.iter().chain(rest).copied();
    std::array::from_fn(|_| bytes.next().unwrap_or(0))
}

/// Takes `N` bytes from the front of `bytes`.
fn cut<'a, const N: usize>(bytes: &mut &'a [u8]) -> Result<&'a [u8; N], Fault> {
    let (taken, rest) = bytes.split_first_chunk().ok_or(Fault::Violation(
        "a command of the handshake is shorter than it must be",
    ))?;
    *bytes = rest;
    Ok(taken)
}

/// Takes the number of a box, which must be higher than `last`.
fn rising(bytes: &mut &[u8], last: u64) -> Result<u64, Fault> {
    let number = u64::from_be_bytes(*cut(bytes)?);
    if number <= last {
        return Err(Fault::Repeated { number, last });
    }
    Ok(number)
}

#[cfg(test)]
mod tests;
