//! Connecting, and connecting again.

use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use crate::lookup::LookUp;
use crate::zmq::stream::{Medium, Stream};

/// Pauses between attempts: the first one, the longest before there was a connection, and the longest after one was lost.
const FIRST: Duration = Duration::from_millis(1);
const LONGEST_AT_FIRST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_secs(2);

/// After a connection that lasted so long the pauses begin anew.
const LASTS: Duration = Duration::from_secs(2);

/// An endpoint that a socket connects to, as often as it takes.
pub(super) struct Dial {
    medium: Medium,
    address: String,
    look_up: Option<LookUp>,
    addresses: Vec<SocketAddr>,
    /// Addresses of the list that were tried.
    tried: usize,
    /// When to try; `None` while there is a connection, or one is being made.
    at: Option<Instant>,
    pause: Duration,
    longest: Duration,
    /// Since when there is a connection.
    ready: Option<Instant>,
    /// Why the last attempt failed.
    last: Option<io::Error>,
    /// It was the other side that does not let us in, or is another one.
    is_refused: bool,
}

impl Dial {
    /// An endpoint that is to be connected to now.
    pub(super) fn new(medium: Medium, address: &str) -> Self {
        Self {
            medium,
            address: address.to_owned(),
            look_up: None,
            addresses: Vec::new(),
            tried: 0,
            at: Some(Instant::now()),
            pause: FIRST,
            longest: LONGEST_AT_FIRST,
            ready: None,
            last: None,
            is_refused: false,
        }
    }

    /// The endpoint, as errors name it.
    pub(super) fn name(&self) -> String {
        self.medium.name(&self.address)
    }

    /// When something is to be done, if that is known.
    pub(super) fn at(&self) -> Option<Instant> {
        self.at
    }

    /// What is readable when the name has been looked up.
    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.look_up.as_ref().map(LookUp::descriptor)
    }

    /// Why there is no connection.
    pub(super) fn take_last(&mut self) -> io::Error {
        let silent = || io::Error::from(io::ErrorKind::TimedOut);
        self.last.take().unwrap_or_else(silent)
    }

    /// True if the last attempt has found a side that does not let us in, or is another one.
    pub(super) fn is_refused(&self) -> bool {
        self.is_refused
    }

    /// The peer is ready.
    pub(super) fn succeeded(&mut self) {
        (self.longest, self.last, self.is_refused) = (LONGEST, None, false);
        self.ready = Some(Instant::now());
    }

    /// The attempt has failed, or the connection is lost: what comes next waits a little longer each time.
    ///
    /// After a refusal that is the longest pause at once: each attempt costs the other side what agreeing on keys does.
    pub(super) fn failed(&mut self, why: io::Error, is_refused: bool) {
        self.last = Some(why);
        // A peer that shakes hands and leaves at once is as good as none.
        if self
            .ready
            .take()
            .is_some_and(|since| since.elapsed() >= LASTS)
        {
            self.pause = FIRST;
        }
        // Another address may be another side.
        self.is_refused = is_refused && self.tried >= self.addresses.len();
        if self.is_refused {
            self.pause = LONGEST;
        }
        if self.tried < self.addresses.len() {
            self.at = Some(Instant::now());
            return;
        }
        (self.tried, self.addresses) = (0, Vec::new());
        // Many that were cut off at once do not come back at once.
        let share = RandomState::new().hash_one(0) % 256;
        let jitter = self
            .pause
            .mul_f64(f64::from(u8::try_from(share).unwrap_or(0)) / 512.0);
        self.at = Some(Instant::now() + self.pause + jitter);
        self.pause = (self.pause * 2).min(self.longest);
    }

    /// Begins an attempt if it is time for one. Returns the socket, which is being connected.
    pub(super) fn step(&mut self) -> Option<Stream> {
        let is_time = self.at.is_some_and(|at| Instant::now() >= at);
        if !is_time && self.look_up.is_none() {
            return None;
        }
        match self.attempt() {
            Ok(stream) => stream,
            Err(error) => {
                self.look_up = None;
                self.failed(error, false);
                None
            }
        }
    }

    fn attempt(&mut self) -> io::Result<Option<Stream>> {
        if self.medium == Medium::Ipc {
            let stream = Stream::open(&self.address)?;
            self.at = None;
            return Ok(Some(stream));
        }
        if let Some(look_up) = &self.look_up {
            let Some(addresses) = look_up.try_take()? else {
                return Ok(None);
            };
            (self.look_up, self.addresses) = (None, addresses);
        }
        if self.addresses.is_empty() {
            match self.address.parse() {
                Ok(address) => self.addresses = vec![address],
                Err(_) => {
                    self.look_up = Some(LookUp::start(&self.address, None)?);
                    self.at = None;
                    return Ok(None);
                }
            }
        }
        let address = self.addresses.get(self.tried).copied();
        self.tried += 1;
        self.at = None;
        let none = || io::Error::from(io::ErrorKind::AddrNotAvailable);
        Stream::start(address.ok_or_else(none)?).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It was dialled a thousand times a second.
    #[test]
    fn a_peer_that_leaves_at_once_is_waited_for_longer_each_time() {
        let mut dial = Dial::new(Medium::Ipc, "nowhere");
        for _ in 0..12 {
            dial.succeeded();
            dial.failed(io::ErrorKind::ConnectionReset.into(), false);
        }
        assert_eq!(dial.pause, LONGEST);
        dial.ready = Instant::now().checked_sub(LASTS);
        dial.failed(io::ErrorKind::ConnectionReset.into(), false);
        assert_eq!(dial.pause, 2 * FIRST);
    }
}
