//! What tcp and unix connections do beyond send and recv, and what a call leaves that ends early.

mod early;
mod forks;
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

/// Connections over both kinds of socket, with these options on the near and on the far side.
pub(crate) fn pairs(near: &Options, far: &Options) -> Vec<Pair> {
    let place = TempPath::new("drivers");
    let unix = format!("unix:{}", place.0.display());
    ["tcp://127.0.0.1:0", &unix]
        .into_iter()
        .map(|endpoint| {
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
        })
        .collect()
}

pub(crate) fn plain_pairs() -> Vec<Pair> {
    pairs(&Options::new(), &Options::new())
}

/// Long enough that a call which should not wait is told apart from one that does.
pub(crate) const MOMENT: Duration = Duration::from_millis(50);
