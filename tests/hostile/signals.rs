//! Calls that signals interrupt.

use std::time::Duration;

use numpush_tests::{TempPath, bytes};

/// F26: calls that a signal interrupts change nothing.
#[test]
fn interrupted_calls_change_nothing() {
    let place = TempPath::new("interrupted");
    for endpoint in [
        "tcp://127.0.0.1:0".to_owned(),
        format!("unix:{}", place.0.display()),
        format!("file:{}/", place.0.with_extension("spool").display()),
    ] {
        let mut listener = numpush::listen(&endpoint).unwrap();
        let mut tx = numpush::connect(&listener.address()).unwrap();
        let mut rx = listener.accept_for(numpush_tests::PATIENCE).unwrap();
        let before = storm::caught();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let _storm = storm::over_this_thread();
                for turn in 0..10 {
                    tx.send(&bytes(8 << 20, turn)).unwrap();
                    tx.send(&bytes(100, turn)).unwrap();
                }
                tx.flush().unwrap();
            });
            let _storm = storm::over_this_thread();
            for turn in 0..10 {
                assert!(rx.recv().unwrap().message == bytes(8 << 20, turn));
                assert_eq!(rx.recv().unwrap().message, bytes(100, turn));
            }
            // The last acknowledgement goes with the next call.
            rx.set_timeouts(None, Some(Duration::from_millis(100)));
            let _ = rx.recv();
        });
        let caught = storm::caught() - before;
        assert!(caught > 100, "{endpoint}: only {caught} signals");
    }
    let _ = std::fs::remove_dir_all(place.0.with_extension("spool"));
}

/// Signals that interrupt the calls of one thread, again and again.
mod storm {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    use std::thread::JoinHandle;
    use std::time::Duration;

    use nix::sys::pthread::{pthread_kill, pthread_self};
    use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

    static CAUGHT: AtomicU64 = AtomicU64::new(0);

    extern "C" fn count(_: i32) {
        CAUGHT.fetch_add(1, Ordering::Relaxed);
    }

    /// Signals that have been handled so far.
    pub(crate) fn caught() -> u64 {
        CAUGHT.load(Ordering::Relaxed)
    }

    /// Ends the storm over its thread.
    pub(crate) struct Storm {
        done: Arc<AtomicBool>,
        sender: Option<JoinHandle<()>>,
    }

    pub(crate) fn over_this_thread() -> Storm {
        // Without SA_RESTART: what the signal meets returns EINTR.
        let action = SigAction::new(
            SigHandler::Handler(count),
            SaFlags::empty(),
            SigSet::empty(),
        );
        #[expect(unsafe_code, reason = "a handler may do anything")]
        // SAFETY: the handler adds to an atomic, which signal-safety(7) allows.
        unsafe { sigaction(Signal::SIGALRM, &action) }.unwrap();
        let (target, done) = (pthread_self(), Arc::new(AtomicBool::new(false)));
        let ended = Arc::clone(&done);
        let sender = std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                // The thread lives until its `Storm` is dropped, and that waits for this one.
                pthread_kill(target, Signal::SIGALRM).unwrap();
                std::thread::sleep(Duration::from_micros(100));
            }
        });
        Storm {
            done,
            sender: Some(sender),
        }
    }

    impl Drop for Storm {
        fn drop(&mut self) {
            self.done.store(true, Ordering::Relaxed);
            self.sender.take().map(JoinHandle::join);
        }
    }
}
