//! What a fork(2) means for a process with threads: how often there was one, and mutexes that no child finds locked.
//!
//! A child has one thread, that which forked. A mutex that another thread held at that moment stays locked in the child
//! forever. So the handlers of pthread_atfork(3) take every [`ForkMutex`] and every [`GlobalMutex`] before the fork and let
//! go after it, on both sides. For the same reason nothing here is made by a `Once`: a child would wait for a thread that
//! it does not have.

use std::cell::RefCell;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use crate::parent_only;
use crate::sync::lock;

/// How often this process came out of a fork(2) since numpush was first used in it. What it held, leased or listened to
/// under another number is its parent's.
#[inline]
pub fn forks() -> u32 {
    FORKS.load(Ordering::Relaxed)
}

/// Counts forks from now on. To be called before anything exists that a child must not use.
#[inline]
pub fn watch_forks() {
    if WATCHER.load(Ordering::Acquire) != DONE {
        watch();
    }
}

#[cold]
fn watch() {
    let me = std::process::id();
    loop {
        let watcher = WATCHER.load(Ordering::Acquire);
        if watcher == DONE {
            return;
        }
        if watcher == me {
            // Another thread of this process is about to.
            std::thread::yield_now();
            continue;
        }
        // Nobody has, or a thread of the parent was about to when it forked.
        let taken = WATCHER.compare_exchange(watcher, me, Ordering::Acquire, Ordering::Relaxed);
        if taken.is_ok() {
            break;
        }
    }
    // SAFETY: the handlers are functions of this program, which stays loaded. What they do in the child of a process with
    // threads is to add to an atomic, and to unlock and free what `prepare` has locked: the C library has made its own
    // allocator usable before.
    let _ = unsafe { libc::pthread_atfork(Some(prepare), Some(in_parent), Some(in_child)) };
    WATCHER.store(DONE, Ordering::Release);
}

/// The process that registers the handlers, 0 for none, or [`DONE`].
static WATCHER: AtomicU32 = AtomicU32::new(0);
const DONE: u32 = u32::MAX;

/// A mutex that a fork waits for, so that a child never finds it locked by a thread it does not have.
///
/// Its holder must not fork. It is taken after an [outer](Self::outer) one, never before, and no two of a kind at once.
pub struct ForkMutex<T>(Arc<Shared<T>>);

/// A [`ForkMutex`] for a static: it needs no allocation.
pub struct GlobalMutex<T> {
    mutex: Mutex<T>,
    level: Level,
    /// Whether a fork knows of it.
    entered: AtomicBool,
}

struct Shared<T> {
    mutex: Mutex<T>,
}

static FORKS: AtomicU32 = AtomicU32::new(0);

/// Every mutex, outer ones first.
static ALL: Mutex<Vec<(Level, Place)>> = Mutex::new(Vec::new());

/// Where a mutex is.
enum Place {
    Shared(Weak<dyn Hold>),
    Global(&'static dyn HoldGlobal),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Outer,
    Inner,
}

impl<T: Send + 'static> ForkMutex<T> {
    /// A mutex that is held for a few steps, in which no other one is taken.
    pub fn new(value: T) -> Self {
        Self::at(Level::Inner, value)
    }

    /// A mutex whose holder may take others.
    pub fn outer(value: T) -> Self {
        Self::at(Level::Outer, value)
    }

    fn at(level: Level, value: T) -> Self {
        watch_forks();
        let shared = Arc::new(Shared {
            mutex: Mutex::new(value),
        });
        let weak: Weak<dyn Hold> = Arc::downgrade(&shared) as Weak<dyn Hold>;
        enter(&mut lock(&ALL), level, Place::Shared(weak));
        Self(shared)
    }

    /// Locks it, also after a thread has panicked with it.
    #[inline]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        lock(&self.0.mutex)
    }
}

impl<T> fmt::Debug for ForkMutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForkMutex").finish_non_exhaustive()
    }
}

impl<T: Send + Default + 'static> Default for ForkMutex<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T: Send + 'static> GlobalMutex<T> {
    /// As [`ForkMutex::new`].
    pub const fn new(value: T) -> Self {
        Self::at(Level::Inner, value)
    }

    /// As [`ForkMutex::outer`].
    pub const fn outer(value: T) -> Self {
        Self::at(Level::Outer, value)
    }

    const fn at(level: Level, value: T) -> Self {
        Self {
            mutex: Mutex::new(value),
            level,
            entered: AtomicBool::new(false),
        }
    }

    /// Locks it, also after a thread has panicked with it.
    #[inline]
    pub fn lock(&'static self) -> MutexGuard<'static, T> {
        if !self.entered.load(Ordering::Acquire) {
            self.enter();
        }
        lock(&self.mutex)
    }

    #[cold]
    fn enter(&'static self) {
        watch_forks();
        // A fork holds the list too, so that its child finds this done or not begun.
        let mut all = lock(&ALL);
        if !self.entered.load(Ordering::Relaxed) {
            enter(&mut all, self.level, Place::Global(self));
            self.entered.store(true, Ordering::Release);
        }
    }
}

impl<T> fmt::Debug for GlobalMutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GlobalMutex").finish_non_exhaustive()
    }
}

fn enter(all: &mut Vec<(Level, Place)>, level: Level, place: Place) {
    if all.len() == all.capacity() {
        all.retain(|(_, place)| match place {
            Place::Shared(weak) => weak.strong_count() > 0,
            Place::Global(_) => true,
        });
    }
    let at = all.partition_point(|(other, _)| *other <= level);
    all.insert(at, (level, place));
}

/// A static that can be locked without regard to what is in it.
trait HoldGlobal: Sync {
    fn hold(&'static self) -> Box<dyn Held>;
}

impl<T: Send + 'static> HoldGlobal for GlobalMutex<T> {
    fn hold(&'static self) -> Box<dyn Held> {
        Box::new(Static(lock(&self.mutex)))
    }
}

/// What can be locked without regard to what is in it.
trait Hold: Send + Sync {
    fn hold(self: Arc<Self>) -> Box<dyn Held>;
}

/// A mutex that is held until it is dropped.
trait Held {}

mod def {
    use super::{Arc, Held, MutexGuard, Shared};

    /// A mutex and its guard.
    ///
    /// # Invariants
    /// 1. `guard` is of `_shared`, which it outlives in no case: fields are dropped in order.
    pub(super) struct Holding<T: 'static> {
        guard: Option<MutexGuard<'static, T>>,
        _shared: Arc<Shared<T>>,
    }

    impl<T> Holding<T> {
        pub(super) fn new(shared: Arc<Shared<T>>) -> Self {
            let place: *const Shared<T> = Arc::as_ptr(&shared);
            // SAFETY: the `Arc` keeps the mutex where it is, and outlives the guard (1).
            let place: &'static Shared<T> = unsafe { &*place };
            Self {
                guard: Some(super::lock(&place.mutex)),
                _shared: shared,
            }
        }
    }

    impl<T> Held for Holding<T> {}

    impl<T> Drop for Holding<T> {
        fn drop(&mut self) {
            self.guard = None;
        }
    }
}

impl<T: Send + 'static> Hold for Shared<T> {
    fn hold(self: Arc<Self>) -> Box<dyn Held> {
        Box::new(def::Holding::new(self))
    }
}

thread_local! {
    /// What the thread that forks holds while it does.
    static HELD: RefCell<Vec<Box<dyn Held>>> = const { RefCell::new(Vec::new()) };
}

extern "C" fn prepare() {
    // The handlers are registered twice in a child whose parent was about to register them.
    if HELD.try_with(|held| !held.borrow().is_empty()) == Ok(true) {
        return;
    }
    let mut held = loop {
        let (globals, mut held) = hold_all();
        let all = lock(&ALL);
        // A global mutex that was entered since may be locked by its thread now.
        if count_globals(&all) == globals {
            // Last, because a mutex is entered while others are held.
            held.push(Box::new(Static(all)));
            break held;
        }
    };
    held.push(Box::new(Static(parent_only::hold())));
    // A thread that is about to end has no place for them. It forks without.
    let _ = HELD.try_with(|place| place.replace(held));
}

fn count_globals(all: &[(Level, Place)]) -> usize {
    let is_global = |(_, place): &&(Level, Place)| matches!(place, Place::Global(_));
    all.iter().filter(is_global).count()
}

/// Takes every mutex that is entered now. Returns how many of them are global.
fn hold_all() -> (usize, Vec<Box<dyn Held>>) {
    let entered = lock(&ALL);
    let globals = count_globals(&entered);
    let all: Vec<Found> = entered
        .iter()
        .filter_map(|(_, place)| match place {
            Place::Shared(weak) => weak.upgrade().map(Found::Shared),
            Place::Global(mutex) => Some(Found::Global(*mutex)),
        })
        .collect();
    drop(entered);
    let hold = |found| match found {
        Found::Shared(mutex) => Hold::hold(mutex),
        Found::Global(mutex) => mutex.hold(),
    };
    (globals, all.into_iter().map(hold).collect())
}

/// A mutex that stays while it is locked.
enum Found {
    Shared(Arc<dyn Hold>),
    Global(&'static dyn HoldGlobal),
}

struct Static<T: 'static>(
    #[expect(dead_code, reason = "held until it is dropped")] MutexGuard<'static, T>,
);

impl<T> Held for Static<T> {}

extern "C" fn in_parent() {
    let _ = HELD.try_with(RefCell::take);
}

extern "C" fn in_child() {
    FORKS.fetch_add(1, Ordering::Relaxed);
    // Without a place for them, the set may be locked for good.
    if HELD.try_with(RefCell::take).is_ok() {
        parent_only::close_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::time::{Duration, Instant};

    use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
    use nix::unistd::{ForkResult, fork};

    use super::*;

    /// The exit code of a child that does `work`, or none if it has not ended after ten seconds.
    fn code_of_child(work: impl FnOnce() -> bool) -> Option<i32> {
        // SAFETY: the child does what the test is about, and leaves by _exit.
        let child = match unsafe { fork() }.unwrap() {
            ForkResult::Child => {
                let code = i32::from(!work());
                // SAFETY: it does not return.
                unsafe { libc::_exit(code) }
            }
            ForkResult::Parent { child } => child,
        };
        let until = Instant::now() + Duration::from_secs(10);
        while Instant::now() < until {
            if let WaitStatus::Exited(_, code) = waitpid(child, Some(WaitPidFlag::WNOHANG)).unwrap()
            {
                return Some(code);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        nix::sys::signal::kill(child, nix::sys::signal::Signal::SIGKILL).unwrap();
        waitpid(child, None).unwrap();
        None
    }

    #[test]
    fn a_child_never_finds_a_mutex_locked() {
        let (outer, inner) = (ForkMutex::outer(0_u64), ForkMutex::new(0_u64));
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let mut held = outer.lock();
                    *inner.lock() += 1;
                    *held += 1;
                }
            });
            for _ in 0..200 {
                let before = forks();
                let code = code_of_child(|| {
                    let same = *outer.lock() == *inner.lock();
                    same && forks() == before + 1
                });
                assert_eq!(code, Some(0), "it hangs, or found a half step");
                assert_eq!(forks(), before);
            }
            stop.store(true, Ordering::Relaxed);
        });
    }

    #[test]
    fn what_is_dropped_is_forgotten() {
        for _ in 0..1000 {
            drop(ForkMutex::new(()));
        }
        assert!(lock(&ALL).capacity() < 500);
    }
}
