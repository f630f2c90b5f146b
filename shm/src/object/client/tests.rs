//! A client and an owner that a test plays by hand, in one process.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ndarray::Ix1;

use super::*;
use crate::object::protocol::{ClientNotice, OwnerNotice};
use crate::object::raw::{Value, find_value};
use crate::object::wire::{Frame, Greeting, Link, NOTICE, Status, WireError};
use crate::{Arena, SharedArray};

/// Longest wait for anything: long enough for a busy machine.
const LONG: Duration = Duration::from_secs(60);
/// A wait that is to end without an answer.
const SHORT: Duration = Duration::from_millis(30);

fn later(wait: Duration) -> Instant {
    Instant::now() + wait
}

/// An owner that a test plays.
struct Owner {
    name: OwnerName,
    listener: UnixListener,
}

impl Owner {
    fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let name = OwnerName {
            pid: std::process::id(),
            nonce: NEXT.fetch_add(1, Ordering::Relaxed),
        };
        let address = SocketAddr::from_abstract_name(name.to_string()).unwrap();
        let listener = UnixListener::bind_addr(&address).unwrap();
        Self { name, listener }
    }

    fn handle(&self, number: u64) -> Handle {
        Handle {
            owner: self.name,
            number,
        }
    }

    fn accept_with(&self, greeting: Greeting) -> Link {
        Link::new(self.listener.accept().unwrap().0, greeting)
    }

    fn accept(&self) -> Link {
        self.accept_with(Greeting::new(Status::Ready))
    }
}

fn next(link: &mut Link) -> Frame {
    link.next(later(LONG)).unwrap()
}

fn say(link: &mut Link, number: u64, value: &impl serde::Serialize) {
    link.queue(number, value, None).unwrap();
    // A client that is gone is what some tests want.
    let _ = link.flush();
}

/// The number of a frame that asks for value `wanted`.
fn asked_for(frame: &Frame, wanted: u64) -> u64 {
    match frame.value::<Request>().unwrap() {
        Request::Open(number) => assert_eq!(number, wanted),
        other => panic!("{other:?}"),
    }
    frame.number
}

/// A value of this process, to be offered as another's.
fn value(len: usize) -> Arc<Value> {
    let array = SharedArray::<u64, Ix1>::zeros(&Arena::new(1 << 20), len).unwrap();
    let number = array.handle().unwrap().number;
    find_value(number).unwrap()
}

fn offer(value: &Value) -> Reply {
    Reply::Opened {
        offer: value.offer().unwrap(),
        memories: 0,
        is_kept: true,
    }
}

fn eventually(mut done: impl FnMut() -> bool) {
    let until = later(LONG);
    while !done() {
        assert!(Instant::now() < until, "waited in vain");
        std::thread::yield_now();
    }
}

#[test]
fn a_late_answer_is_never_taken_for_another() {
    let owner = Owner::new();
    let (one, two) = (value(1), value(2));
    let met = Barrier::new(2);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut late = owner.accept();
            let asked = asked_for(&next(&mut late), 1);
            met.wait();
            say(&mut late, asked, &offer(&one));
            let mut good = owner.accept();
            let asked = asked_for(&next(&mut good), 2);
            say(&mut good, asked, &offer(&two));
        });
        let error = open_until(&owner.handle(1), later(SHORT)).unwrap_err();
        assert!(
            matches!(&error, Error::Busy { why, .. } if *why == connection::NO_ANSWER),
            "{error}"
        );
        met.wait();
        let object = open_until(&owner.handle(2), later(LONG)).unwrap();
        assert_eq!(object.spans.byte_len(), 16);
    });
}

#[test]
fn an_answer_to_another_request_ends_the_connection_and_nothing_else() {
    let owner = Owner::new();
    let (one, two) = (value(1), value(2));
    std::thread::scope(|scope| {
        let played = scope.spawn(|| {
            let mut link = owner.accept();
            let asked = asked_for(&next(&mut link), 1);
            say(&mut link, asked, &offer(&one));
            let asked = asked_for(&next(&mut link), 2);
            say(&mut link, asked + 1, &offer(&two));
            let mut again = owner.accept();
            let asked = asked_for(&next(&mut again), 2);
            say(&mut again, asked, &offer(&two));
            // The first connection keeps open what it opened, until that is closed.
            assert!(matches!(link.next(later(SHORT)), Err(WireError::TimedOut)));
            (link, again)
        });
        let first = open(&owner.handle(1)).unwrap();
        let error = open(&owner.handle(2)).unwrap_err();
        assert!(
            error.to_string().ends_with("an answer to another request"),
            "{error}"
        );
        let second = open(&owner.handle(2)).unwrap();
        assert_eq!(second.spans.byte_len(), 16);
        assert_eq!(first.spans.byte_len(), 8);
        assert!(Arc::ptr_eq(&first, &open(&owner.handle(1)).unwrap()));
        let (mut broken, _again) = played.join().unwrap();
        drop(first);
        assert!(matches!(broken.next(later(LONG)), Err(WireError::Closed)));
    });
}

#[test]
fn who_waits_while_another_times_out_is_served_by_a_new_connection() {
    let owner = Owner::new();
    let two = value(2);
    let met = Barrier::new(2);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut silent = owner.accept();
            next(&mut silent);
            met.wait();
            let mut good = owner.accept();
            let asked = asked_for(&next(&mut good), 2);
            say(&mut good, asked, &offer(&two));
        });
        let one = scope.spawn(|| open_until(&owner.handle(1), later(SHORT * 10)));
        met.wait();
        let two = open_until(&owner.handle(2), later(LONG)).unwrap();
        assert_eq!(two.spans.byte_len(), 16);
        assert!(matches!(one.join().unwrap(), Err(Error::Busy { .. })));
    });
}

#[test]
fn who_waits_too_long_for_another_is_told() {
    let owner = Owner::new();
    let met = Barrier::new(2);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut silent = owner.accept();
            next(&mut silent);
            met.wait();
            met.wait();
        });
        let one = scope.spawn(|| open_until(&owner.handle(1), later(LONG)));
        met.wait();
        let error = open_until(&owner.handle(2), later(SHORT)).unwrap_err();
        assert!(matches!(error, Error::Busy { .. }), "{error}");
        met.wait();
        assert!(matches!(one.join().unwrap(), Err(Error::Stale { .. })));
    });
}

#[test]
fn a_greeting_that_does_not_fit_is_named() {
    let ready = Greeting::new(Status::Ready);
    let newer = Greeting {
        version: 7,
        ..ready
    };
    let refused = |greet: &(dyn Fn(&Owner) + Sync)| {
        let owner = Owner::new();
        std::thread::scope(|scope| {
            scope.spawn(|| greet(&owner));
            open(&owner.handle(1)).unwrap_err()
        })
    };
    let error = refused(&|owner| {
        owner.accept_with(newer).flush().unwrap();
    });
    assert!(
        matches!(error, Error::ProtocolVersion { found: 7, .. }),
        "{error}"
    );
    let error = refused(&|owner| {
        owner
            .accept_with(Greeting::new(Status::Full))
            .flush()
            .unwrap();
    });
    assert!(matches!(error, Error::Busy { .. }), "{error}");
    let error = refused(&|owner| {
        let (mut socket, _) = owner.listener.accept().unwrap();
        std::io::Write::write_all(&mut socket, b"HTTP/1.1 400 Bad Request").unwrap();
    });
    assert!(matches!(error, Error::Protocol { .. }), "{error}");
    let error = refused(&|owner| drop(owner.listener.accept().unwrap()));
    assert!(matches!(error, Error::Stale { .. }), "{error}");
    let error = refused(&|owner| {
        let mut link = owner.accept();
        let asked = next(&mut link).number;
        say(&mut link, asked, &"what is this?");
    });
    assert!(matches!(error, Error::Protocol { .. }), "{error}");
}

/// Plays an owner that offers `value` under every number, and counts what it is asked for.
fn offers(owner: &Owner, value: &Value, asked: &AtomicUsize) {
    let mut link = owner.accept();
    while let Ok(frame) = link.next(later(LONG)) {
        if frame.number != NOTICE {
            asked.fetch_add(1, Ordering::SeqCst);
            say(&mut link, frame.number, &offer(value));
        }
    }
}

#[test]
fn what_was_closed_just_now_is_opened_again_without_a_word() {
    let owner = Owner::new();
    let (one, asked) = (value(1), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| offers(&owner, &one, &asked));
        // It is kept for a second: this thread may be put aside for longer, but not every time.
        eventually(|| {
            drop(open(&owner.handle(1)).unwrap());
            let before = asked.load(Ordering::SeqCst);
            drop(open(&owner.handle(1)).unwrap());
            asked.load(Ordering::SeqCst) == before
        });
        // When nothing is open for a second the connection ends, and with it the thread above.
    });
}

#[test]
fn the_owner_gets_back_what_is_not_used() {
    let owner = Owner::new();
    let one = value(1);
    let met = Barrier::new(2);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut link = owner.accept();
            let mut heard: Vec<ClientNotice> = Vec::new();
            let mut asked = 0;
            while asked < 2 {
                let frame = next(&mut link);
                if frame.number == NOTICE {
                    // Tests beside this one take the room to keep it open.
                    heard.push(frame.value().unwrap());
                } else {
                    asked += 1;
                    say(&mut link, frame.number, &offer(&one));
                }
            }
            met.wait();
            for number in [1, 2] {
                say(&mut link, NOTICE, &OwnerNotice::LetGo(number));
            }
            while heard.len() < 3 {
                heard.push(next(&mut link).value().unwrap());
            }
            let (closed, in_use) = (ClientNotice::Closed, ClientNotice::InUse);
            assert_eq!(heard, [closed(1), in_use(2), closed(2)]);
        });
        let used = {
            drop(open(&owner.handle(1)).unwrap());
            open(&owner.handle(2)).unwrap()
        };
        met.wait();
        let slot = slot(owner.name).unwrap();
        eventually(|| slot.state().is_wanted(2));
        drop(used);
    });
}

#[test]
fn a_drop_waits_for_nobody() {
    const MANY: u64 = 3000;
    let owner = Owner::new();
    let one = value(1);
    let met = Barrier::new(2);
    std::thread::scope(|scope| {
        let heard = scope.spawn(|| {
            let mut link = owner.accept();
            for number in 1..=MANY {
                let asked = asked_for(&next(&mut link), number);
                say(&mut link, asked, &offer(&one));
            }
            // From here on it reads nothing.
            met.wait();
            let mut closed: Vec<u64> = (0..MANY)
                .map(|_| match next(&mut link).value().unwrap() {
                    ClientNotice::Closed(number) => number,
                    other => panic!("{other:?}"),
                })
                .collect();
            closed.sort_unstable();
            closed
        });
        let all: Vec<_> = (1..=MANY)
            .map(|number| open(&owner.handle(number)).unwrap())
            .collect();
        drop(all);
        met.wait();
        assert_eq!(heard.join().unwrap(), (1..=MANY).collect::<Vec<_>>());
    });
}

#[test]
fn an_owner_that_ends_leaves_nothing_here() {
    let owner = Owner::new();
    let one = value(1);
    std::thread::scope(|scope| {
        let link = scope.spawn(|| {
            let mut link = owner.accept();
            let asked = asked_for(&next(&mut link), 1);
            say(&mut link, asked, &offer(&one));
            link
        });
        drop(open(&owner.handle(1)).unwrap());
        let slot = slot(owner.name).unwrap();
        drop(link.join().unwrap());
        eventually(|| slot.state().line.id().is_none());
        assert!(slot.state().is_empty());
    });
}
