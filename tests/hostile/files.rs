//! Files that were cut or damaged, and file systems that are full.

use std::process::Command;

use numpush::Error;
use numpush::wire::DecodeError;
use numpush_tests::{TempPath, bytes};

/// F12, F25: a message file that was cut is an error, never a signal.
#[test]
fn a_truncated_file_is_an_error() {
    let path = TempPath::new("cut");
    numpush::file::write(&path.0, &bytes(1 << 20, 1), true).unwrap();
    let whole = std::fs::read(&path.0).unwrap();
    let read = || {
        numpush::file::read(&path.0, &mut numpush::model::HeapAllocator::new(), u64::MAX)
            .map(drop)
            .unwrap_err()
    };
    for len in [0, 31, 100, 4096, whole.len() - 1] {
        std::fs::write(&path.0, &whole[..len]).unwrap();
        let error = read();
        let is_cut = matches!(
            &error,
            Error::InvalidMessage {
                source: DecodeError::Truncated { .. },
                ..
            }
        );
        assert!(is_cut, "{len}: {error:?}");
    }
    let mut longer = whole.clone();
    longer.push(b'x');
    std::fs::write(&path.0, longer).unwrap();
    assert!(matches!(
        read(),
        Error::InvalidMessage {
            source: DecodeError::TrailingBytes { count: 1 },
            ..
        }
    ));
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 4;
    std::fs::write(&path.0, flipped).unwrap();
    assert!(
        matches!(
            read(),
            Error::InvalidMessage {
                source: DecodeError::PayloadChecksum { .. },
                ..
            }
        ),
        "F33"
    );
}

/// F13: a full file system is an error, and nothing is left of the attempt.
#[test]
fn a_full_file_system_is_an_error() {
    let folder = TempPath::new("full");
    std::fs::create_dir(&folder.0).unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
        .arg(&folder.0)
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        numpush_tests::not_run("only root can mount a small file system");
        return;
    }
    let error =
        numpush::file::write(&folder.0.join("big.np"), &bytes(4 << 20, 1), false).unwrap_err();
    let left = std::fs::read_dir(&folder.0).unwrap().count();
    let unmounted = Command::new("umount").arg(&folder.0).status().unwrap();
    assert!(unmounted.success());
    let Error::Io { source, .. } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(source.kind(), std::io::ErrorKind::StorageFull);
    assert_eq!(left, 0);
}
