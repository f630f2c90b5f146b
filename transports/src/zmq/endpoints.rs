//! Where a socket listens, and what it connects to.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use numpush_os::{Events, Ready};

use crate::zmq::dial::Dial;
use crate::zmq::stream::{Listening, Stream};

/// How long nobody is let in when descriptors are short.
const PAUSE: Duration = Duration::from_millis(100);

/// All endpoints of a socket, each under a token of its own.
#[derive(Default)]
pub(super) struct Endpoints {
    listeners: BTreeMap<u64, Listener>,
    dials: BTreeMap<u64, Dialled>,
}

struct Listener {
    listening: Listening,
    /// When it is asked again.
    paused: Option<Instant>,
}

struct Dialled {
    dial: Dial,
    is_looking_up: bool,
}

impl Endpoints {
    pub(super) fn listen(
        &mut self,
        token: u64,
        listening: Listening,
        events: &Events,
    ) -> io::Result<()> {
        events.add(&listening, token, Ready::READ)?;
        let listener = Listener {
            listening,
            paused: None,
        };
        self.listeners.insert(token, listener);
        Ok(())
    }

    pub(super) fn connect(&mut self, token: u64, dial: Dial) {
        let dialled = Dialled {
            dial,
            is_looking_up: false,
        };
        self.dials.insert(token, dialled);
    }

    /// Why there is no connection.
    pub(super) fn why(&mut self) -> io::Error {
        let mut dials = self.dials.values_mut();
        dials.next().map_or_else(
            || io::ErrorKind::TimedOut.into(),
            |dialled| dialled.dial.take_last(),
        )
    }

    /// True if the last attempt of each to connect has shown that the next one would end as it did.
    pub(super) fn are_refused(&self) -> bool {
        !self.dials.is_empty() && self.dials.values().all(|it| it.dial.is_refused())
    }

    /// Ends listening and connecting: no peer comes any more.
    pub(super) fn leave(&mut self, events: &Events) {
        for listener in std::mem::take(&mut self.listeners).into_values() {
            // A forked child may have it too, so that it would stay in the set.
            let _ = events.remove(&listener.listening);
        }
        self.dials.clear();
    }

    /// Ends the endpoint of that name. Returns its token, if there is one.
    pub(super) fn remove(&mut self, name: &str, events: &Events) -> Option<u64> {
        let listeners = self.listeners.iter();
        let is_it = |it: &Listener| it.listening.address().is_ok_and(|its| its == name);
        let mut listeners = listeners.filter(|(_, it)| is_it(it));
        if let Some(token) = listeners.next().map(|(token, _)| *token) {
            let listener = self.listeners.remove(&token)?;
            let _ = events.remove(&listener.listening);
            return Some(token);
        }
        let mut dials = self.dials.iter();
        let (token, _) = dials.find(|(_, it)| it.dial.name() == name)?;
        let token = *token;
        self.dials.remove(&token);
        Some(token)
    }

    /// Something is ready at an endpoint: those who have connected, at most `most`. `None` if `token` is none of these.
    pub(super) fn ready(
        &mut self,
        token: u64,
        most: usize,
        events: &Events,
    ) -> Option<Vec<Stream>> {
        if let Some(dialled) = self.dials.get_mut(&token) {
            dialled
                .dial
                .descriptor()
                .map(|descriptor| events.remove(descriptor));
            dialled.is_looking_up = false;
            return Some(Vec::new());
        }
        let listener = self.listeners.get_mut(&token)?;
        let mut came = Vec::new();
        // The others come with the next event.
        while came.len() < most {
            match listener.listening.accept() {
                Ok(stream) => came.push(stream),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                // Descriptors are short, or memory.
                Err(_) => {
                    let _ = events.remove(&listener.listening);
                    listener.paused = Some(Instant::now() + PAUSE);
                    break;
                }
            }
        }
        Some(came)
    }

    /// Does what it is time for. Returns the connections that have begun, with the token of their endpoint.
    pub(super) fn step(&mut self, now: Instant, events: &Events) -> Vec<(u64, Stream)> {
        for (token, listener) in &mut self.listeners {
            if listener.paused.take_if(|until| *until <= now).is_some()
                && events
                    .add(&listener.listening, *token, Ready::READ)
                    .is_err()
            {
                listener.paused = Some(now + PAUSE);
            }
        }
        let dials = self.dials.iter_mut();
        let begun = dials.filter_map(|(token, it)| Some((*token, it.dial.step()?)));
        begun.collect()
    }

    /// The peer of an endpoint is ready.
    pub(super) fn succeeded(&mut self, token: u64) {
        if let Some(dialled) = self.dials.get_mut(&token) {
            dialled.dial.succeeded();
        }
    }

    /// The connection of an endpoint, or the attempt to make one, has ended.
    pub(super) fn failed(&mut self, token: u64, why: io::Error, is_refused: bool) {
        if let Some(dialled) = self.dials.get_mut(&token) {
            dialled.dial.failed(why, is_refused);
        }
    }

    /// Tells the set which look-ups to wait for.
    pub(super) fn arrange(&mut self, events: &Events) {
        for (token, dialled) in &mut self.dials {
            match dialled.dial.descriptor() {
                // One that is gone is closed, and so in no set.
                None => dialled.is_looking_up = false,
                Some(descriptor) if !dialled.is_looking_up => {
                    dialled.is_looking_up = events.add(descriptor, *token, Ready::READ).is_ok();
                }
                Some(_) => {}
            }
        }
    }

    /// When something is to be done next.
    pub(super) fn at(&self) -> Option<Instant> {
        let dials = self.dials.values().filter_map(|it| it.dial.at());
        let paused = self.listeners.values().filter_map(|it| it.paused);
        dials.chain(paused).min()
    }
}
