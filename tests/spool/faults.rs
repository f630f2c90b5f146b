//! System calls that fail.

use std::os::unix::fs::PermissionsExt;

use numpush::Error;
use numpush::transfer::Operation;
use numpush_os::{fail_call, fail_nth, stop_failing};
use numpush_tests::{Peer, again, bytes};

use crate::{Place, accept, patient};

const ROLE: &str = "NUMPUSH_TEST_SPOOL_FAULTS";
const EIO: i32 = 5;
const EMFILE: i32 = 24;
const ENOSPC: i32 = 28;
const EOPNOTSUPP: i32 = 95;

/// Runs `test` in a process of its own: what fails there fails for all of its threads. True in that process.
fn alone(test: &str) -> bool {
    if std::env::var_os(ROLE).is_some() {
        return true;
    }
    Peer::start(again(test).env(ROLE, "1")).ends_well();
    false
}

fn is_io(error: &Error, wanted: Operation) -> bool {
    matches!(error, Error::Io { operation, .. } if *operation == wanted)
}

#[test]
fn with_sync_a_message_is_on_the_disk_or_an_error() {
    if !alone("faults::with_sync_a_message_is_on_the_disk_or_an_error") {
        return;
    }
    let place = Place::new("sync");
    let endpoint = format!("{}?sync=on", place.endpoint());
    let mut listener = numpush::listen(&endpoint).unwrap();
    let mut synced = numpush::connect(&endpoint).unwrap();
    let mut receiver = accept(&mut listener);
    let mut plain = place.connect();
    fail_call("fsync", EIO);
    plain.send(&bytes(100, 1)).unwrap();
    let error = synced.send(&bytes(100, 1)).unwrap_err();
    assert!(is_io(&error, Operation::Write), "{error:?}");
    let error = numpush::connect(&endpoint).unwrap_err();
    assert!(is_io(&error, Operation::Connect), "{error:?}");
    stop_failing();
    // The file was not there yet: the number is free again.
    synced.send(&bytes(100, 2)).unwrap();
    fail_call("fsync", EIO);
    // Its name is gone, so the message is returned, and the next calls say that this is not on the disk.
    assert_eq!(receiver.recv().unwrap().message, bytes(100, 2));
    for _ in 0..2 {
        let error = receiver.recv().unwrap_err();
        assert!(is_io(&error, Operation::Remove), "{error:?}");
    }
    stop_failing();
    synced.send(&bytes(100, 3)).unwrap();
    assert_eq!(receiver.recv().unwrap().message, bytes(100, 3));
    drop((plain, synced, receiver));

    let single = Place::new("sync-single");
    let endpoint = format!("file:{}", single.path().display());
    fail_call("fsync", EIO);
    let mut plain = numpush::connect(&endpoint).unwrap();
    plain.send(&bytes(100, 1)).unwrap();
    let mut synced = numpush::connect(&format!("{endpoint}?sync=on")).unwrap();
    let error = synced.send(&bytes(100, 2)).unwrap_err();
    assert!(is_io(&error, Operation::Write), "{error:?}");
    stop_failing();
    // The old file is still there.
    let mut reader = numpush::connect(&endpoint).unwrap();
    assert_eq!(reader.recv().unwrap().message, bytes(100, 1));
    let mut synced = numpush::connect(&format!("{endpoint}?sync=on")).unwrap();
    synced.send(&bytes(100, 3)).unwrap();
}

/// Nobody knows whether it was made, so the number is not given to another message.
#[test]
fn a_rename_that_fails_ends_the_connection() {
    if !alone("faults::a_rename_that_fails_ends_the_connection") {
        return;
    }
    let place = Place::new("rename");
    let mut connection = place.connect();
    connection.send(&bytes(100, 1)).unwrap();
    fail_call("renameat", EIO);
    let error = connection.send(&bytes(100, 2)).unwrap_err();
    assert!(is_io(&error, Operation::Write), "{error:?}");
    stop_failing();
    let error = connection.send(&bytes(100, 3)).unwrap_err();
    assert!(matches!(error, Error::Failed { .. }), "{error:?}");
    drop(connection);
    let mut accepted = accept(&mut place.listen());
    assert_eq!(accepted.recv().unwrap().message, bytes(100, 1));
    let error = accepted.recv().unwrap_err();
    assert!(matches!(error, Error::Disconnected { .. }), "{error:?}");
    drop(accepted);
    place.is_empty_after_a_sweep("after a rename that failed");
}

/// A message that cannot be removed is not returned: it would come again.
#[test]
fn a_message_that_cannot_be_removed_is_an_error_and_stays() {
    if !alone("faults::a_message_that_cannot_be_removed_is_an_error_and_stays") {
        return;
    }
    let place = Place::new("remove");
    let mut connection = place.connect();
    connection.send(&bytes(100, 1)).unwrap();
    drop(connection);
    let mut listener = place.listen();
    let mut accepted = accept(&mut listener);
    fail_call("unlinkat", EIO);
    let error = accepted.recv().unwrap_err();
    assert!(is_io(&error, Operation::Remove), "{error:?}");
    stop_failing();
    assert_eq!(accepted.recv().unwrap().message, bytes(100, 1));
}

/// The listener has too few descriptors for a moment: it takes the connection up again, though it had dropped it.
#[test]
fn a_shortage_does_not_make_a_connection_bad() {
    if !alone("faults::a_shortage_does_not_make_a_connection_bad") {
        return;
    }
    let place = Place::new("shortage");
    let mut connection = place.connect();
    connection.send(&bytes(100, 1)).unwrap();
    drop(connection);
    let mut listener = place.listen();
    let mut accepted = accept(&mut listener);
    fail_call("openat", EMFILE);
    let error = accepted.recv().unwrap_err();
    assert!(is_io(&error, Operation::Open), "{error:?}");
    stop_failing();
    drop(accepted);
    let mut accepted = accept(&mut listener);
    assert_eq!(accepted.recv().unwrap().message, bytes(100, 1));
}

/// The files in a spool that were given back.
fn free_files(place: &Place) -> usize {
    let link = place.path().join(&place.entries()[0]);
    let names = std::fs::read_dir(link).unwrap();
    let is_free = |name: &std::ffi::OsString| name.to_str().unwrap().ends_with(".free");
    let names = names.map(|entry| entry.unwrap().file_name());
    names.filter(is_free).count()
}

#[test]
fn a_full_disk_takes_the_files_that_were_given_back() {
    if !alone("faults::a_full_disk_takes_the_files_that_were_given_back") {
        return;
    }
    let place = Place::new("full");
    let mut listener = place.listen();
    let mut tx = place.connect();
    let mut rx = accept(&mut listener);
    // The write is one of the calls of a send.
    for before in 0.. {
        for seed in [1, 2] {
            tx.send(&bytes(1 << 20, seed)).unwrap();
        }
        for seed in [1, 2] {
            assert_eq!(rx.recv().unwrap().message, bytes(1 << 20, seed));
        }
        tx.flush().unwrap();
        assert!(free_files(&place) >= 2);
        fail_nth(before, ENOSPC);
        let sent = tx.send(&bytes(1 << 20, 3));
        let failed = stop_failing().unwrap().call;
        let is_write = failed == "writev";
        if is_write {
            sent.unwrap();
            assert_eq!(free_files(&place), 0);
        } else if sent.is_err() {
            continue;
        }
        assert_eq!(rx.recv().unwrap().message, bytes(1 << 20, 3), "{failed}");
        if is_write {
            break;
        }
    }
}

#[test]
fn no_more_than_the_window_is_kept_of_files_that_were_given_back() {
    const MIB: usize = 1 << 20;
    let place = Place::new("kept");
    let mut listener = place.listen();
    let mut tx = patient()
        .window(2 * MIB as u64)
        .connect(&place.endpoint())
        .unwrap();
    let mut rx = accept(&mut listener);
    tx.send(&bytes(MIB, 1)).unwrap();
    tx.send(&bytes(MIB, 2)).unwrap();
    rx.recv().unwrap();
    rx.recv().unwrap();
    tx.flush().unwrap();
    assert_eq!(free_files(&place), 2);
    tx.send(&bytes(2 * MIB, 3)).unwrap();
    rx.recv().unwrap();
    tx.flush().unwrap();
    assert_eq!(free_files(&place), 1);
}

/// As on NFS, and without /proc.
#[test]
fn where_files_cannot_be_without_a_name_they_get_a_temporary_one() {
    if !alone("faults::where_files_cannot_be_without_a_name_they_get_a_temporary_one") {
        return;
    }
    let place = Place::new("unnamed");
    std::fs::create_dir(place.path()).unwrap();
    let path = place.path().join("message.np");
    for turn in 1..=2 {
        fail_call("open", EOPNOTSUPP);
        let mut connection = numpush::connect(&format!("file:{}", path.display())).unwrap();
        connection.send(&bytes(100, turn)).unwrap();
        assert_eq!(stop_failing().unwrap().call, "open");
        let mut reader = numpush::connect(&format!("file:{}", path.display())).unwrap();
        assert_eq!(reader.recv().unwrap().message, bytes(100, turn));
        assert_eq!(place.entries(), ["message.np"]);
    }
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
}
