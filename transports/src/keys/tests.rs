use super::*;
use std::os::unix::fs::PermissionsExt;

/// A folder of its own, which goes with the guard.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("numpush-{name}-{}", std::process::id()));
        // Somebody with the same number may have been killed.
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn names(&self) -> Vec<OsString> {
        let entries = fs::read_dir(&self.0).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn keys_are_read_as_they_were_written() {
    let folder = Folder::new("keys-written");
    let (path, key) = (folder.0.join("key"), SecretKey::generate().unwrap());
    let public = write(&path, &key).unwrap();
    assert_eq!(folder.names(), ["key", "key.pub"]);
    assert_eq!(mode(&path), 0o600);
    // The umask may take more.
    assert_eq!(mode(&public) & !0o644, 0);
    assert_eq!(read_secret(&path).unwrap().public(), key.public());
    assert_eq!(read_public(&public).unwrap(), key.public());
    let text = fs::read_to_string(&public).unwrap();
    assert_eq!(text, format!("{}\n", key.public()));
}

#[test]
fn keys_are_not_overwritten() {
    for there in ["key", "key.pub"] {
        let folder = Folder::new(&format!("keys-{there}"));
        fs::write(folder.0.join(there), "dear").unwrap();
        let refused = write(&folder.0.join("key"), &SecretKey::generate().unwrap());
        assert!(matches!(refused, Err(KeyFileError::Exists { path }) if path.ends_with(there)));
        assert_eq!(folder.names(), [there]);
        assert_eq!(fs::read_to_string(folder.0.join(there)).unwrap(), "dear");
    }
}

#[test]
fn a_secret_key_that_others_may_read_is_refused() {
    let folder = Folder::new("keys-exposed");
    let path = folder.0.join("key");
    write(&path, &SecretKey::generate().unwrap()).unwrap();
    for mode in [0o644, 0o640, 0o604, 0o620, 0o601] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let refused = read_secret(&path).unwrap_err();
        assert!(matches!(refused, KeyFileError::Exposed { mode: found, .. } if found == mode));
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    assert!(read_secret(&path).is_ok());
    let refused = check_secret(&path, 1000, 1001, 0o600).unwrap_err();
    let said = "it belongs to user 1000, and we are user 1001";
    assert!(refused.to_string().ends_with(said), "{refused}");
    // What root gives to a service.
    for mode in [0o400, 0o440, 0o600] {
        assert!(check_secret(&path, 0, 1001, mode).is_ok());
    }
    for mode in [0o444, 0o660, 0o620] {
        assert!(check_secret(&path, 0, 1001, mode).is_err());
    }
}

#[test]
fn a_file_that_others_may_change_does_not_say_whom_to_trust() {
    let folder = Folder::new("keys-writable");
    let path = folder.0.join("key");
    let public = write(&path, &SecretKey::generate().unwrap()).unwrap();
    for mode in [0o666, 0o664, 0o646] {
        fs::set_permissions(&public, fs::Permissions::from_mode(mode)).unwrap();
        for refused in [read_public(&public).err(), read_allowed(&public).err()] {
            let refused = refused.unwrap();
            assert!(
                matches!(refused, KeyFileError::Writable { mode: found, .. } if found == mode),
                "{refused}"
            );
        }
    }
    fs::set_permissions(&public, fs::Permissions::from_mode(0o444)).unwrap();
    assert!(read_public(&public).is_ok() && read_allowed(&public).is_ok());
    assert!(check_owner(&public, 0, 1001).is_ok());
    assert!(check_owner(&public, 1000, 1001).is_err());
}

#[test]
fn who_may_come_in_is_a_list() {
    let folder = Folder::new("keys-list");
    let path = folder.0.join("allowed");
    let keys: Vec<_> = (0..3)
        .map(|_| SecretKey::generate().unwrap().public())
        .collect();
    let text = format!("# ours\n{} ann\n\n  {}\r\n{}", keys[0], keys[1], keys[2]);
    fs::write(&path, text).unwrap();
    assert_eq!(read_allowed(&path).unwrap(), keys.iter().copied().collect());
    fs::write(&path, format!("{}\n{}x\n", keys[0], keys[1])).unwrap();
    let refused = read_allowed(&path).unwrap_err();
    assert!(matches!(
        refused,
        KeyFileError::Key {
            line: 2,
            source: KeyError::Length(41),
            ..
        }
    ));
}

#[test]
fn what_is_no_file_with_a_key_is_refused() {
    let folder = Folder::new("keys-none");
    let path = folder.0.join("key");
    let none = read_public(&path).unwrap_err();
    assert!(matches!(
        none,
        KeyFileError::Io {
            operation: "open",
            ..
        }
    ));
    fs::write(&path, "").unwrap();
    let empty = read_public(&path).unwrap_err();
    assert!(matches!(
        empty,
        KeyFileError::Key {
            line: 1,
            source: KeyError::Length(0),
            ..
        }
    ));
    fs::write(&path, vec![b'a'; 5000]).unwrap();
    let long = read_public(&path).unwrap_err();
    assert!(matches!(long, KeyFileError::Long { limit: 1024, .. }));
    fs::write(&path, [0xff; 40]).unwrap();
    assert!(matches!(
        read_public(&path),
        Err(KeyFileError::Io {
            operation: "read",
            ..
        })
    ));
    for path in [&folder.0, Path::new("/dev/null")] {
        for refused in [read_secret(path).err(), read_public(path).err()] {
            assert!(matches!(refused, Some(KeyFileError::Kind { .. })));
        }
    }
}
