//! What tcp, unix and inproc connections do beyond send and recv, and what a call leaves that ends early.

mod batches;
mod connecting;
mod early;
mod forks;
mod in_progress;
mod peers;
mod threads;
mod waits;

use std::time::Duration;

use numpush::{Connection, Listener, Options};
use numpush_tests::{PATIENCE, TempPath};

/// Two ends of a connection, and what must outlive them.
pub(crate) struct Pair {
    pub(crate) near: Connection,
    pub(crate) far: Connection,
    _listener: Listener,
}

/// Connections over both kinds of socket and inside the process, with these options on the near and on the far side.
pub(crate) fn pairs(near: &Options, far: &Options) -> Vec<Pair> {
    let mut pairs = sockets(near, far);
    let place = TempPath::new("drivers");
    pairs.push(pair(&format!("inproc:{}", place.0.display()), near, far));
    pairs
}

/// Connections over both kinds of socket, which may take a part of a message.
pub(crate) fn sockets(near: &Options, far: &Options) -> Vec<Pair> {
    let place = TempPath::new("drivers");
    let unix = format!("unix:{}", place.0.display());
    let endpoints = ["tcp://127.0.0.1:0", &unix];
    endpoints.map(|endpoint| pair(endpoint, near, far)).into()
}

fn pair(endpoint: &str, near: &Options, far: &Options) -> Pair {
    let mut listener = far.listen(endpoint).unwrap();
    let mut near = near.connect(&listener.address()).unwrap();
    let mut far = listener.accept_for(PATIENCE).unwrap();
    near.set_timeouts(Some(PATIENCE), Some(PATIENCE));
    far.set_timeouts(Some(PATIENCE), Some(PATIENCE));
    Pair {
        near,
        far,
        _listener: listener,
    }
}

pub(crate) fn plain_pairs() -> Vec<Pair> {
    pairs(&Options::new(), &Options::new())
}

/// Long enough that a call which should not wait is told apart from one that does.
pub(crate) const MOMENT: Duration = Duration::from_millis(50);
