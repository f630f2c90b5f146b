//! One thread a process, for sockets that owe something while no call of the program's is in them.
//!
//! A ZeroMQ socket has duties that no call stands for: it shakes hands with those who come, answers pings, writes what is
//! queued, and connects again. A call does all that while it lasts, and the thread does it in between. To hand over costs a call
//! no system call: it counts itself in [`Presence`], and the thread, which is woken by the first event, leaves a socket
//! alone as long as calls come and go, and looks again a few milliseconds later.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::BorrowedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use numpush_os::{self as os, Events, GlobalMutex, Ready};

/// How long the thread leaves a socket alone in which calls come and go; twice as long each time.
const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_millis(16);

/// What may wait for more waits so long.
const LATE: Duration = Duration::from_millis(1);

/// What has to be done when nobody calls.
pub(crate) trait Kept: Send + Sync {
    /// Readable when there is something to do.
    fn descriptor(&self) -> BorrowedFd<'_>;

    /// Who is inside.
    fn presence(&self) -> &Presence;

    /// Does what can be done without a wait.
    fn keep(&self);
}

/// What a call leaves to the thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    Nothing,
    /// Something that the next call may do better, if one comes within a millisecond.
    Later,
    Now,
}

/// Whether calls are inside a socket.
#[derive(Debug, Default)]
pub(crate) struct Presence {
    /// Odd while one is.
    calls: AtomicU64,
    /// The thread sleeps until the call that is inside rings.
    is_awaited: AtomicBool,
    /// A call has left something to do at once.
    is_owing: AtomicBool,
    /// A call has left something that may wait for more.
    is_late: AtomicBool,
    /// The set in which the thread waits.
    bell: OnceLock<Arc<Events>>,
}

impl Presence {
    /// A call begins.
    pub(crate) fn enter(&self) {
        self.calls.fetch_add(1, Ordering::SeqCst);
    }

    /// True while a call is inside.
    pub(crate) fn is_inside(&self) -> bool {
        self.calls.load(Ordering::SeqCst) % 2 == 1
    }

    /// A call ends, and leaves this.
    pub(crate) fn leave(&self, left: Left) {
        self.calls.fetch_add(1, Ordering::SeqCst);
        // Once is enough until the thread has looked.
        let is_new = match left {
            Left::Nothing => false,
            // Behind the count and the lock of the call: who has cleared it since has seen what it left.
            Left::Later => {
                !self.is_late.load(Ordering::SeqCst) && !self.is_late.swap(true, Ordering::SeqCst)
            }
            Left::Now => !self.is_owing.swap(true, Ordering::SeqCst),
        };
        let is_awaited =
            self.is_awaited.load(Ordering::SeqCst) && self.is_awaited.swap(false, Ordering::SeqCst);
        if (is_new || is_awaited)
            && let Some(bell) = self.bell.get()
        {
            bell.ring();
        }
    }
}

impl Presence {
    /// The socket ends. A forked child may have its descriptor too, so that it would stay in the set.
    pub(crate) fn end(&self, descriptor: BorrowedFd<'_>) {
        if let Some(bell) = self.bell.get() {
            let _ = bell.remove(descriptor);
        }
    }
}

/// A socket, as the thread knows it.
struct Entry {
    kept: Weak<dyn Kept>,
    state: State,
    /// Calls that had begun and ended when it was looked at last.
    seen: u64,
    delay: Duration,
    /// When it gets what a call has left for later.
    late: Option<Instant>,
}

enum State {
    /// An event wakes the thread.
    Armed,
    /// Calls come and go: it is looked at again at this time.
    Busy(Instant),
    /// A call is inside that lasts, and rings when it ends.
    Awaited,
}

/// The thread's list.
struct Keeper {
    events: Option<Arc<Events>>,
    entries: BTreeMap<u64, Entry>,
    next: u64,
    /// A forked child has no thread of its parent, and leaves its sockets alone.
    forks: u32,
}

static KEEPER: GlobalMutex<Keeper> = GlobalMutex::new(Keeper {
    events: None,
    entries: BTreeMap::new(),
    next: 0,
    forks: 0,
});

/// Keeps a socket as long as it lives.
pub(crate) fn keep(kept: &Arc<impl Kept + 'static>) -> io::Result<()> {
    let mut keeper = KEEPER.lock();
    let events = keeper.start()?;
    let token = keeper.next;
    keeper.next += 1;
    let presence = kept.presence();
    let seen = presence.calls.load(Ordering::SeqCst);
    events.add(kept.descriptor(), token, Ready::READ)?;
    // It is set once, by this call.
    let _ = presence.bell.set(events);
    let kept: Arc<dyn Kept> = Arc::clone(kept) as Arc<dyn Kept>;
    keeper
        .entries
        .retain(|_, entry| entry.kept.strong_count() > 0);
    keeper.entries.insert(
        token,
        Entry {
            kept: Arc::downgrade(&kept),
            state: State::Armed,
            seen,
            delay: SHORTEST,
            late: None,
        },
    );
    Ok(())
}

impl Keeper {
    /// The set of the thread, which runs from now on.
    fn start(&mut self) -> io::Result<Arc<Events>> {
        if self.forks != os::forks() {
            self.entries.clear();
            self.events = None;
            self.forks = os::forks();
        }
        if let Some(events) = &self.events {
            return Ok(Arc::clone(events));
        }
        let events = Arc::new(Events::new()?);
        let set = Arc::clone(&events);
        let thread = std::thread::Builder::new().name("numpush-keeper".into());
        thread.spawn(move || work(&set))?;
        self.events = Some(Arc::clone(&events));
        Ok(events)
    }

    /// Decides what to do with the socket `token`. Returns it, and whether it has to be kept now.
    fn look(&mut self, events: &Events, token: u64, now: Instant) -> Option<(Arc<dyn Kept>, bool)> {
        let entry = self.entries.get_mut(&token)?;
        let Some(kept) = entry.kept.upgrade() else {
            // Its descriptor is closed, and so in no set.
            self.entries.remove(&token);
            return None;
        };
        let presence = kept.presence();
        let calls = presence.calls.load(Ordering::SeqCst);
        let is_inside = calls % 2 == 1;
        let is_late = entry.take_late(presence, is_inside, now);
        let owes = !is_inside && presence.is_owing.swap(false, Ordering::SeqCst) || is_late;
        if !owes && (is_inside || calls != entry.seen) {
            let lasts = is_inside && calls == entry.seen;
            entry.seen = calls;
            entry.leave_alone(events, kept.as_ref(), lasts);
            return Some((kept, false));
        }
        entry.seen = calls;
        entry.delay = SHORTEST;
        if !matches!(entry.state, State::Armed)
            && events.add(kept.descriptor(), token, Ready::READ).is_err()
        {
            // Without memory in the kernel for it: soon again.
            entry.state = State::Busy(Instant::now() + LONGEST);
        } else {
            entry.state = State::Armed;
        }
        Some((kept, true))
    }
}

impl Entry {
    /// A call `lasts`, or calls come and go.
    fn leave_alone(&mut self, events: &Events, kept: &dyn Kept, lasts: bool) {
        if matches!(self.state, State::Armed) {
            let _ = events.remove(kept.descriptor());
        }
        let presence = kept.presence();
        if lasts {
            presence.is_awaited.store(true, Ordering::SeqCst);
            // If it has ended before it could see that, nobody rings.
            if presence.calls.load(Ordering::SeqCst) == self.seen {
                self.state = State::Awaited;
                return;
            }
        }
        presence.is_awaited.store(false, Ordering::SeqCst);
        self.state = State::Busy(Instant::now() + self.delay);
        self.delay = (self.delay * 2).min(LONGEST);
    }

    /// True if it is time for what a call has left for later. A call that is inside does that, or leaves it again.
    fn take_late(&mut self, presence: &Presence, is_inside: bool, now: Instant) -> bool {
        if self.late.take_if(|at| *at <= now).is_none() {
            return false;
        }
        if is_inside {
            self.late = Some(now + LATE);
            return false;
        }
        presence.is_late.swap(false, Ordering::SeqCst)
    }

    /// Notes that a call has left something for later.
    fn note_late(&mut self, now: Instant, passed: &mut Vec<Arc<dyn Kept>>) {
        if self.late.is_none()
            && let Some(kept) = self.kept.upgrade()
        {
            if kept.presence().is_late.load(Ordering::SeqCst) {
                self.late = Some(now + LATE);
            }
            passed.push(kept);
        }
    }

    /// True if it has to be looked at, by the time or because somebody has rung. What it has looked into is in `passed` then.
    fn is_due(&self, rang: bool, now: Instant, passed: &mut Vec<Arc<dyn Kept>>) -> bool {
        if self.late.is_some_and(|at| at <= now) {
            return true;
        }
        match self.state {
            State::Busy(at) => at <= now || rang && self.owes(passed),
            State::Armed => rang && self.owes(passed),
            State::Awaited => rang,
        }
    }

    fn owes(&self, passed: &mut Vec<Arc<dyn Kept>>) -> bool {
        let Some(kept) = self.kept.upgrade() else {
            return true;
        };
        let owes = kept.presence().is_owing.load(Ordering::SeqCst);
        passed.push(kept);
        owes
    }
}

fn work(events: &Arc<Events>) {
    let mut ready = Vec::new();
    let mut timeout = None;
    loop {
        ready.clear();
        // It fails only for want of memory in the kernel.
        let rang = events.wait_into(&mut ready, timeout).unwrap_or_else(|_| {
            std::thread::sleep(LONGEST);
            true
        });
        let mut keeper = KEEPER.lock();
        let now = Instant::now();
        let mut tokens: Vec<u64> = ready.iter().map(|event| event.token).collect();
        let mut passed = Vec::new();
        if rang {
            let entries = keeper.entries.values_mut();
            entries.for_each(|entry| entry.note_late(now, &mut passed));
        }
        let entries = keeper.entries.iter();
        let due = entries.filter(|(_, entry)| entry.is_due(rang, now, &mut passed));
        tokens.extend(due.map(|(token, _)| *token));
        tokens.sort_unstable();
        tokens.dedup();
        let mut kept = Vec::new();
        for token in tokens {
            match keeper.look(events, token, now) {
                Some((socket, true)) => kept.push(socket),
                // Each may be the last that holds its socket, which must not end under the lock: the program's memory is in it.
                Some((socket, false)) => passed.push(socket),
                None => {}
            }
        }
        let next = keeper.entries.values().flat_map(|entry| {
            let busy = match entry.state {
                State::Busy(at) => Some(at),
                _ => None,
            };
            [busy, entry.late]
        });
        timeout = next
            .flatten()
            .min()
            .map(|at| at.saturating_duration_since(now));
        drop(keeper);
        for kept in kept {
            // What panics is memory of the program's. The other sockets are kept all the same.
            let _ = catch_unwind(AssertUnwindSafe(|| kept.keep()));
            let _ = catch_unwind(AssertUnwindSafe(|| drop(kept)));
        }
        let _ = catch_unwind(AssertUnwindSafe(|| drop(passed)));
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;
    use std::sync::Mutex;

    use super::*;

    /// A socket that the program lets go of while the thread looks at it.
    struct Leaves {
        events: Events,
        presence: Presence,
        held: Mutex<Option<Arc<Self>>>,
        is_gone: Arc<AtomicBool>,
    }

    impl Kept for Leaves {
        fn descriptor(&self) -> BorrowedFd<'_> {
            self.events.as_fd()
        }

        fn presence(&self) -> &Presence {
            drop(os::lock(&self.held).take());
            &self.presence
        }

        fn keep(&self) {}
    }

    impl Drop for Leaves {
        fn drop(&mut self) {
            // As memory of the program does that opens another socket.
            drop(KEEPER.lock());
            self.is_gone.store(true, Ordering::SeqCst);
        }
    }

    /// It ended under the lock of the list, which the drop waited for.
    #[test]
    fn the_last_hold_of_a_socket_is_dropped_without_the_lock() {
        let is_gone = Arc::new(AtomicBool::new(false));
        let socket = Arc::new(Leaves {
            events: Events::new().unwrap(),
            presence: Presence::default(),
            held: Mutex::new(None),
            is_gone: Arc::clone(&is_gone),
        });
        keep(&socket).unwrap();
        let bell = Arc::clone(socket.presence.bell.get().unwrap());
        let held = Arc::downgrade(&socket);
        socket.presence.is_owing.store(true, Ordering::SeqCst);
        *os::lock(&held.upgrade().unwrap().held) = Some(socket);
        bell.ring();
        let until = Instant::now() + Duration::from_secs(60);
        while !is_gone.load(Ordering::SeqCst) {
            assert!(Instant::now() < until, "the thread waits for itself");
            std::thread::yield_now();
        }
    }
}
