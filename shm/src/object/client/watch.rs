//! The thread of a client. It reads what owners say while nobody else does, and lets go of what nobody needs any more.
//!
//! It starts with the first connection and sleeps unless an owner says something or something grows old.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::{Duration, Instant};

use numpush_os::{Events, GlobalMutex, Ready};
use numpush_shm_core::forks;

use super::options::keep_for;
use crate::error::Error;

/// How often it is looked at what is too old.
fn tick() -> Duration {
    (keep_for() / 2).max(Duration::from_millis(10))
}

/// Something with connections that are looked after.
pub(super) trait Tended: Send + Sync {
    /// Connection `id` can be read from, or written to.
    fn attend(&self, id: u64);

    /// Lets go of what is too old. True if something is there that will be.
    fn tick(&self, now: Instant) -> bool;
}

/// The connections that the thread looks after.
pub(super) struct Watch {
    forks: u32,
    events: Events,
    last: AtomicU64,
    /// Not one that a fork waits for: no child locks it, because it makes a watch of its own and lets the parent's slots be.
    tended: Mutex<BTreeMap<u64, Weak<dyn Tended>>>,
    /// True while something may grow old.
    is_ticking: AtomicBool,
}

/// The watch of this process. The first call starts the thread.
pub(super) fn watch() -> Result<Arc<Watch>, Error> {
    static WATCH: GlobalMutex<Option<Arc<Watch>>> = GlobalMutex::new(None);
    let mut watch = WATCH.lock();
    if let Some(watch) = watch.as_ref().filter(|watch| watch.forks == forks()) {
        return Ok(Arc::clone(watch));
    }
    let events = Events::new().map_err(Error::io("wait for several owners at once"))?;
    let new = Arc::new(Watch {
        forks: forks(),
        events,
        last: AtomicU64::new(0),
        tended: Mutex::default(),
        is_ticking: AtomicBool::new(false),
    });
    let of_thread = Arc::clone(&new);
    std::thread::Builder::new()
        .name("numpush-client".into())
        .stack_size(256 << 10)
        .spawn(move || of_thread.run())
        .map_err(Error::io("start the thread that lets go of shared values"))?;
    *watch = Some(Arc::clone(&new));
    Ok(new)
}

impl Watch {
    /// The number of a new connection of `tended`.
    pub(super) fn enter(&self, tended: Weak<dyn Tended>) -> u64 {
        let id = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        self.tended().insert(id, tended);
        id
    }

    /// Connection `id` is no more.
    pub(super) fn leave(&self, id: u64) {
        self.tended().remove(&id);
    }

    /// Waits for `want` of the socket of connection `id`; `before` is what it was waited for.
    pub(super) fn wait_for(
        &self,
        socket: &UnixStream,
        id: u64,
        before: Option<Ready>,
        want: Ready,
    ) -> io::Result<Ready> {
        match before {
            Some(before) if before == want => {}
            Some(_) => self.events.change(socket, id, want)?,
            None => self.events.add(socket, id, want)?,
        }
        Ok(want)
    }

    /// Waits for nothing of the socket: somebody uses the connection.
    pub(super) fn wait_no_more(&self, socket: &UnixStream) {
        let _ = self.events.remove(socket);
    }

    /// Something is there that will be too old.
    pub(super) fn tick_soon(&self) {
        if !self.is_ticking.swap(true, Ordering::SeqCst) {
            self.events.ring();
        }
    }

    fn tended(&self) -> MutexGuard<'_, BTreeMap<u64, Weak<dyn Tended>>> {
        numpush_os::lock(&self.tended)
    }

    fn run(&self) {
        let mut ticked = Instant::now();
        loop {
            let ticks = self.is_ticking.load(Ordering::SeqCst);
            // No memory, for a moment.
            let events = self.events.wait(ticks.then(tick));
            let events = events.unwrap_or_else(|_| {
                std::thread::sleep(tick());
                Vec::new()
            });
            for event in events {
                let tended = self.tended().get(&event.token).and_then(Weak::upgrade);
                if let Some(tended) = tended {
                    tended.attend(event.token);
                }
            }
            let now = Instant::now();
            if ticks && now.duration_since(ticked) >= tick() {
                ticked = now;
                self.tick(now);
            }
        }
    }

    fn tick(&self, now: Instant) {
        // Cleared first: what comes while this looks around rings again.
        self.is_ticking.store(false, Ordering::SeqCst);
        let all: Vec<Arc<dyn Tended>> = self.tended().values().filter_map(Weak::upgrade).collect();
        let mut any = false;
        for tended in all {
            any |= tended.tick(now);
        }
        if any {
            self.is_ticking.store(true, Ordering::SeqCst);
        }
    }
}
