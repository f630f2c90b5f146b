//! What is in the folder and is none of ours, and folders that are not safe.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use numpush::transfer::Operation;
use numpush::{Error, Options};
use numpush_tests::{bytes, not_run};

use crate::{Place, accept, accept_now, drain};

fn mode_of(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

fn pipe(path: &Path) {
    mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
}

/// The folder of the only connection.
fn link_of(place: &Place) -> PathBuf {
    let entries = place.entries();
    assert_eq!(entries.len(), 1, "{entries:?}");
    place.path().join(&entries[0])
}

#[test]
fn strays_are_left_alone_and_good_connections_are_served() {
    let place = Place::new("strays");
    let mut listener = place.listen();
    let at = |name: &str| place.path().join(name);
    fs::write(at("link-0-file"), "x").unwrap();
    fs::create_dir(at("link-0-empty")).unwrap();
    pipe(&at("link-0-pipe"));
    symlink("/", at("link-0-link")).unwrap();
    for lock in ["waiting", "listener", "connector"] {
        let folder = at(&format!("link-0-{lock}"));
        fs::create_dir(&folder).unwrap();
        for name in ["waiting", "listener", "connector"] {
            if name == lock {
                pipe(&folder.join(name));
            } else {
                symlink("/etc/passwd", folder.join(name)).unwrap();
            }
        }
    }
    fs::write(at(".new-file"), "x").unwrap();
    symlink("/tmp", at(".gone-link")).unwrap();
    fs::write(at("notes.txt"), "x").unwrap();
    let mut before = place.entries();
    assert!(accept_now(&mut listener).is_none());
    let mut connection = place.connect();
    connection.send(&bytes(100, 1)).unwrap();
    drop(connection);
    let (seeds, error) = drain(&mut accept(&mut listener));
    assert_eq!(seeds, [1]);
    assert!(error.is_closed(), "{error:?}");
    let mut after = place.entries();
    before.sort();
    after.sort();
    assert_eq!(after, before);
}

#[test]
fn a_message_that_is_no_file_is_an_error_and_harms_nobody_else() {
    let place = Place::new("no-message");
    let mut listener = place.listen();
    for make in [
        pipe,
        |path: &Path| symlink("/etc/passwd", path).unwrap(),
        |path: &Path| {
            fs::create_dir(path).unwrap();
        },
    ] {
        let mut connection = place.connect();
        let mut accepted = accept(&mut listener);
        let message = link_of(&place).join("c-1.np");
        make(&message);
        let error = accepted.recv().unwrap_err();
        let Error::Io {
            operation: Operation::Open,
            source,
            ..
        } = &error
        else {
            panic!("{error:?}");
        };
        assert_eq!(source.kind(), ErrorKind::PermissionDenied, "{error:?}");
        drop(accepted);
        let error = connection.flush().map_or_else(
            |error| error,
            |()| connection.send(&bytes(10, 1)).unwrap_err(),
        );
        assert!(matches!(error, Error::Disconnected { .. }), "{error:?}");
        drop(connection);
        assert!(accept_now(&mut listener).is_none());
    }
    place.is_empty_after_a_sweep("after strays");
}

/// A listener does not take up again and again what it cannot read. One that can gets it.
#[test]
fn a_message_too_large_stays_for_a_listener_that_takes_it() {
    let place = Place::new("too-large");
    let mut connection = place.connect();
    connection.send(&bytes(2000, 7)).unwrap();
    drop(connection);
    let small = Options::new().max_message(1000);
    let mut listener = small.listen(&place.endpoint()).unwrap();
    let error = accept(&mut listener).recv().unwrap_err();
    assert!(matches!(error, Error::InvalidMessage { .. }), "{error:?}");
    assert!(accept_now(&mut listener).is_none());
    let (seeds, _) = drain(&mut accept(&mut place.listen()));
    assert_eq!(seeds, [7]);
    assert_eq!(place.entries(), [""; 0]);
}

/// F19: what strangers can put where our files go is neither followed nor written into.
#[test]
fn links_are_not_followed_and_nothing_of_others_is_truncated() {
    let place = Place::new("links");
    let precious = numpush_tests::TempPath::new("precious");
    fs::write(&precious.0, "precious").unwrap();
    let mut listener = place.listen();
    let mut connection = place.connect();
    let mut accepted = accept(&mut listener);
    let link = link_of(&place);
    for name in [".c-1", ".c-2", "c-2.np", "c-3.end", "l-1.end"] {
        symlink(&precious.0, link.join(name)).unwrap();
    }
    connection.send(&bytes(100, 1)).unwrap();
    connection.send(&bytes(100, 2)).unwrap();
    let (seeds, error) = {
        drop(connection);
        drain(&mut accepted)
    };
    assert_eq!(seeds, [1, 2]);
    assert!(error.is_closed(), "{error:?}");
    drop(accepted);
    assert_eq!(fs::read_to_string(&precious.0).unwrap(), "precious");
    assert_eq!(place.entries(), [""; 0]);
}

#[test]
fn what_is_made_is_this_users_alone() {
    let place = Place::new("modes");
    let nested = format!("file:{}/below/spool/", place.path().display());
    let mut connection = numpush::connect(&nested).unwrap();
    connection.send(&bytes(100, 1)).unwrap();
    let below = place.path().join("below");
    let spool = below.join("spool");
    let link = fs::read_dir(&spool)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    for folder in [place.path(), &below, &spool, &link] {
        assert_eq!(mode_of(folder), 0o700, "{}", folder.display());
    }
    for name in ["connector", "waiting", "c-1.np"] {
        assert_eq!(mode_of(&link.join(name)), 0o600, "{name}");
    }
}

fn is_refused(endpoint: &str, words: &str) {
    let connected = numpush::connect(endpoint).map(drop);
    let listening = numpush::listen(endpoint).map(drop);
    for refused in [connected, listening] {
        let error = refused.unwrap_err();
        let Error::Io { source, .. } = &error else {
            panic!("{error:?}");
        };
        assert_eq!(source.kind(), ErrorKind::PermissionDenied, "{error:?}");
        assert!(source.to_string().contains(words), "{error:?}");
    }
}

#[test]
fn a_folder_that_others_write_to_or_own_is_refused() {
    let place = Place::new("unsafe");
    fs::create_dir(place.path()).unwrap();
    for mode in [0o775, 0o722, 0o1777] {
        fs::set_permissions(place.path(), fs::Permissions::from_mode(mode)).unwrap();
        is_refused(&place.endpoint(), &format!("{mode:04o}"));
    }
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    drop(place.listen());
    let link = Place::new("unsafe-link");
    symlink(place.path(), link.path()).unwrap();
    is_refused(&link.endpoint(), "symbolic link");
    if chown(place.path(), Some(65533), None).is_err() {
        not_run("only root can give a folder to another user");
        return;
    }
    is_refused(&place.endpoint(), "user 65533");
}

#[test]
fn a_folder_that_is_removed_ends_the_listener_and_its_connections() {
    let place = Place::new("removed");
    let mut listener = place.listen();
    let mut connection = place.connect();
    let mut accepted = accept(&mut listener);
    fs::remove_dir_all(place.path()).unwrap();
    let error = listener.accept_for(numpush_tests::PATIENCE).unwrap_err();
    assert!(
        matches!(&error, Error::Io { operation: Operation::Accept, source, .. } if source.kind() == ErrorKind::NotFound),
        "{error:?}"
    );
    for error in [connection.recv().unwrap_err(), accepted.recv().unwrap_err()] {
        assert!(matches!(error, Error::Disconnected { .. }), "{error:?}");
    }
}
