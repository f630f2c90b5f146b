//! A folder through which processes send each other messages: deaths at every step, listeners that share it, and what
//! strangers put into it.

mod acknowledge;
mod deaths;
mod faults;
mod forks;
mod sharing;
mod strays;
mod threads;

use std::path::Path;
use std::time::Duration;

use numpush::{Connection, Error, Listener, Options};
use numpush_tests::TempPath;

/// A spool of its own.
struct Place(TempPath);

impl Place {
    fn new(name: &str) -> Self {
        Self(TempPath::new(name))
    }

    fn path(&self) -> &Path {
        &self.0.0
    }

    fn endpoint(&self) -> String {
        format!("file:{}/", self.path().display())
    }

    fn listen(&self) -> Listener {
        numpush::listen(&self.endpoint()).unwrap()
    }

    fn connect(&self) -> Connection {
        numpush::connect(&self.endpoint()).unwrap()
    }

    /// The names in it.
    fn entries(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.path()).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    /// Lets a listener sweep, and looks that nothing stays.
    fn is_empty_after_a_sweep(&self, what: &str) {
        let mut listener = self.listen();
        assert!(accept_now(&mut listener).is_none(), "{what}");
        assert_eq!(self.entries(), [""; 0], "{what}");
    }
}

/// A connection that is there already.
fn accept_now(listener: &mut Listener) -> Option<Connection> {
    match listener.accept_for(Duration::ZERO) {
        Ok(connection) => Some(connection),
        Err(error) => {
            assert!(error.is_timeout(), "{error:?}");
            None
        }
    }
}

fn accept(listener: &mut Listener) -> Connection {
    listener.accept_for(numpush_tests::PATIENCE).unwrap()
}

/// The first byte of each message of a connection until it ends, and its end.
fn drain(connection: &mut Connection) -> (Vec<u8>, Error) {
    connection.set_timeouts(None, Some(numpush_tests::PATIENCE));
    let mut seeds = Vec::new();
    loop {
        match connection.recv() {
            Ok(received) => seeds.push(received.message.as_array().unwrap().data()[0]),
            Err(error) => return (seeds, error),
        }
    }
}

fn patient() -> Options {
    Options::new()
        .send_timeout(numpush_tests::PATIENCE)
        .recv_timeout(numpush_tests::PATIENCE)
}
