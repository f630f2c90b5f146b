//! Many connections in one thread.

mod calls;
mod edges;
mod fans;
mod peers;
mod scale;

use std::time::Duration;

use numpush::poller::{Event, Key};
use numpush::{Connection, Listener, Options, Poller};
use numpush_tests::{PATIENCE, TempPath};

/// A listener for each kind of socket, and what must outlive it.
pub(crate) fn listeners(options: &Options) -> Vec<(Listener, TempPath)> {
    listeners_of(&["tcp", "unix"], options)
}

/// A listener for each of these transports, and what must outlive it.
pub(crate) fn listeners_of(schemes: &[&str], options: &Options) -> Vec<(Listener, TempPath)> {
    schemes
        .iter()
        .map(|&scheme| {
            let place = TempPath::new("poller");
            let endpoint = match scheme {
                "tcp" => "tcp://127.0.0.1:0".to_owned(),
                scheme => format!("{scheme}:{}", place.0.display()),
            };
            (options.listen(&endpoint).unwrap(), place)
        })
        .collect()
}

/// A connection whose far end is in a poller.
pub(crate) fn join(poller: &mut Poller, listener: &mut Listener) -> (Connection, Key) {
    let mut near = numpush::connect(&listener.address()).unwrap();
    near.set_timeouts(Some(PATIENCE), Some(PATIENCE));
    let far = listener.accept_for(PATIENCE).unwrap();
    (near, poller.add(far).unwrap())
}

/// The next event, which must come.
pub(crate) fn next(poller: &mut Poller) -> Event {
    poller.wait(PATIENCE).unwrap().expect("an event")
}

/// Long enough that a wait which should go on is told apart from one that does not.
pub(crate) const MOMENT: Duration = Duration::from_millis(50);
