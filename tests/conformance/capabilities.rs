//! A link does what its capabilities say, and nothing else.

use std::thread;

use numpush::Error;
use numpush::transfer::Scheme;
use numpush_tests::bytes;

use crate::rig::Rig;

/// What a link can is what it says, and what it cannot is an error that says so.
pub(crate) fn capabilities_are_kept(rig: &Rig) {
    let (mut tx, mut rx, _listener) = rig.pair();
    let capabilities = tx.capabilities();
    thread::scope(|scope| {
        let received = scope.spawn(|| {
            if rig.capacity == 1 {
                numpush_tests::eventually("the file", || rig.place.0.exists());
            }
            let received = rx.recv().unwrap().message;
            if capabilities.two_way {
                rx.send(&received).unwrap();
            } else if rig.capacity > 1 {
                lacks(rx.send(&received).map(drop));
            }
            received
        });
        tx.send(&bytes(1000, 1)).unwrap();
        if capabilities.two_way {
            assert_eq!(tx.recv().unwrap().message, bytes(1000, 1));
        } else if rig.capacity > 1 {
            // Whoever has one file open may read and write it; nobody answers.
            lacks(tx.recv().map(drop));
        }
        if capabilities.acknowledges {
            tx.flush().unwrap();
        } else {
            lacks(tx.flush());
        }
        assert_eq!(received.join().unwrap(), bytes(1000, 1));
    });
    let passed = capabilities.passes_descriptors;
    let expected = matches!(rig.scheme, Scheme::Inproc | Scheme::Unix);
    assert_eq!(passed, expected, "passes_descriptors");
}

fn lacks(result: Result<(), Error>) {
    let error = result.unwrap_err();
    assert!(matches!(error, Error::Unsupported { .. }), "{error:?}");
}
