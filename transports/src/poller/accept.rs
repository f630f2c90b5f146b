//! Listeners among the connections.

use std::io::ErrorKind;

use numpush_os as os;

use crate::endpoint::Scheme;
use crate::error::{Error, Operation};
use crate::listener::Listener;
use crate::poller::event::Event;
use crate::poller::place::Place;
use crate::poller::slots::Key;
use crate::poller::{NAME, Poller};

impl Poller {
    /// Adds a listener: the connections that come are in the poller when [`Event::Connected`] names them.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn add_listener(&mut self, mut listener: Listener) -> Result<Key, Error> {
        self.origin.check(NAME)?;
        let prepared = listener.prepare();
        prepared.map_err(Error::io(Operation::SetUp, NAME))?;
        let unsupported = || Error::Unsupported {
            transport: Scheme::name_in(&listener.address()),
            operation: Operation::Wait,
            reason: "its listener has no descriptor to wait for together with others",
        };
        listener.descriptor().ok_or_else(unsupported)?;
        let key = self.listeners.insert(Place {
            listener,
            is_listed: false,
        });
        let place = self.listeners.get(key);
        if let Some(socket) = place.and_then(|place| place.listener.descriptor())
            && let Err(error) = self.events.add(socket, key.token(), os::Ready::READ)
        {
            self.listeners.remove(key);
            return Err(Error::io(Operation::Wait, NAME)(error));
        }
        self.list(key);
        Ok(key)
    }

    /// Takes a listener out; its connections stay. `None` if the key is void.
    pub fn remove_listener(&mut self, key: Key) -> Option<Listener> {
        self.origin.check(NAME).ok()?;
        let place = self.listeners.remove(key)?;
        if let Some(socket) = place.listener.descriptor() {
            // It is out already if the socket is gone.
            let _ = self.events.remove(socket);
        }
        Some(place.listener)
    }

    /// Takes the next connection of a listener.
    pub(super) fn accept(&mut self, listener: Key) {
        let Some(place) = self.listeners.get_mut(listener) else {
            return;
        };
        place.is_listed = false;
        let accepted = place.listener.try_accept();
        while let Some(error) = place.listener.take_refused() {
            self.happened.push_back(Event::Rejected { listener, error });
        }
        match accepted {
            Ok(None) => {}
            Ok(Some(connection)) => {
                let event = match self.add(connection) {
                    Ok(key) => Event::Connected { key, listener },
                    Err(error) => Event::Rejected { listener, error },
                };
                self.happened.push_back(event);
                self.list(listener);
            }
            // Memory or descriptors are short: the listener tries again by itself.
            Err(error) if is_shortage(&error) => {
                self.happened.push_back(Event::Rejected { listener, error });
            }
            Err(error) => {
                self.remove_listener(listener);
                self.happened.push_back(Event::Ended {
                    key: listener,
                    error: Some(error),
                    unacknowledged: 0,
                });
            }
        }
    }
}

fn is_shortage(error: &Error) -> bool {
    let Error::Io { source, .. } = error else {
        return false;
    };
    // ENFILE, EMFILE, ENOSPC of epoll_ctl(2) and ENOBUFS have no kind of their own, or another one.
    matches!(source.raw_os_error(), Some(23 | 24 | 28 | 105))
        || source.kind() == ErrorKind::OutOfMemory
}
