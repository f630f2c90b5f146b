//! What only links through a folder do.
#![cfg(feature = "file")]
#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod room;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use numpush_message::{Buffer, Message};
use numpush_transports::{Error, Options, connect};

use room::Room;

/// Only a fault waits so long.
const PATIENCE: Duration = Duration::from_secs(30);

fn message(byte: u8) -> Message<'static> {
    Message::from(Buffer::from(vec![byte; 1000]))
}

/// A spool of its own.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let name = format!("numpush-spool-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        // Of a process that was killed.
        let _ = std::fs::remove_dir_all(&path);
        Self(path)
    }

    fn endpoint(&self) -> String {
        format!("file:{}/", self.0.display())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_message_waits_until_there_is_room() {
    let place = Place::new("room");
    let room = Room {
        left: Arc::default(),
        max: 4096,
    };
    let options = Options::new().allocator(room.clone());
    let mut listener = options.listen(&place.endpoint()).unwrap();
    let mut tx = connect(&place.endpoint()).unwrap();
    let mut rx = listener.accept_for(PATIENCE).unwrap();
    tx.send(&message(1)).unwrap();
    tx.send(&message(2)).unwrap();
    for _ in 0..3 {
        let error = rx.recv().unwrap_err();
        assert!(matches!(error, Error::NoRoom { .. }), "{error:?}");
        assert!(error.is_recoverable());
    }
    for byte in [1, 2] {
        room.left.store(4096, Ordering::Relaxed);
        assert_eq!(rx.recv().unwrap().message, message(byte));
    }
}

#[test]
fn a_message_that_never_fits_is_not_recoverable() {
    let place = Place::new("small");
    let room = Room {
        left: Arc::default(),
        max: 999,
    };
    let options = Options::new().allocator(room);
    let mut listener = options.listen(&place.endpoint()).unwrap();
    let mut tx = connect(&place.endpoint()).unwrap();
    let mut rx = listener.accept_for(PATIENCE).unwrap();
    tx.send(&message(1)).unwrap();
    let error = rx.recv().unwrap_err();
    assert!(matches!(error, Error::NoRoom { .. }), "{error:?}");
    assert!(!error.is_recoverable());
}
