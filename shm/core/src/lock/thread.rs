//! What this thread holds, and its records in the lock tables.

use std::cell::UnsafeCell;
use std::mem::ManuallyDrop;
use std::sync::Arc;

use super::atomic::HOLDS;
use super::error::LockError;
use super::identity::forks;
use super::mapped::Mapped;
use super::place::{Place, Spot};
use super::record::ThreadRecord;
use super::table::LockTable;

/// Most locks a thread may hold. When a thread dies the kernel walks 2,048 robust mutexes (ROBUST_LIST_LIMIT) and leaves
/// the rest locked forever. A lock takes two at most: the writer's, and that of a record, which serves 16 locks.
pub const MAX_HELD: usize = 1000;

/// Records that a thread keeps although it holds nothing in them, so that the next lock is cheap.
const MOST_IDLE: usize = 8;

/// How a thread holds a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Beside other readers. The thread may take it so again.
    Shared,
    /// To work on parts, beside others who do. The thread may take it so again.
    Part,
    /// In any other way.
    Other,
}

/// A lock that this thread holds.
#[derive(Clone, Copy, Debug)]
struct Held {
    lock: usize,
    /// How often it is held.
    count: u32,
    mode: Mode,
    spot: Spot,
}

/// A record of this thread in a table.
#[derive(Debug)]
struct Registration {
    /// Nothing if the registration is over.
    table: Option<Arc<LockTable>>,
    /// Its first hold word.
    first: Place,
    words: Mapped<ThreadRecord>,
    /// A bit for each hold word in use.
    used: u16,
}

const _: () = assert!(HOLDS == 16);

/// What a thread holds. It has no destructor, so that no access asks whether it has run: [`End`] does its work.
struct Thread {
    forks: u32,
    /// The registration that served last.
    last: usize,
    held: ManuallyDrop<Vec<Held>>,
    registrations: ManuallyDrop<Vec<Registration>>,
}

/// Ends the registrations of a thread that ends.
struct End;

thread_local! {
    static THREAD: UnsafeCell<Thread> = const {
        UnsafeCell::new(Thread {
            forks: 0,
            last: 0,
            held: ManuallyDrop::new(Vec::new()),
            registrations: ManuallyDrop::new(Vec::new()),
        })
    };
    static END: End = const { End };
}

/// What [`enter`] found.
pub(super) enum Entered {
    /// The thread does not hold the lock; it has a place now to take it at.
    New(Place),
    /// The thread holds it in this way already, and does so once more.
    Again(Place),
}

/// What this thread holds.
#[inline]
fn this() -> *mut Thread {
    // The closure does nothing else, so that it is inlined: what is called through a pointer costs a third of a lock.
    THREAD.with(UnsafeCell::get)
}

/// Notes that this thread is about to take the lock with the number `lock`, of `table`.
#[inline]
pub(super) fn enter(table: &Arc<LockTable>, lock: usize, mode: Mode) -> Result<Entered, LockError> {
    // SAFETY: only this thread has the pointer, and no call that uses it is inside another.
    let thread = unsafe { &mut *this() };
    match thread.enter_at_once(table, lock, mode) {
        Some(place) => Ok(Entered::New(place)),
        None => thread.enter(table, lock, mode),
    }
}

/// Calls `end` if this is the last hold of `lock` that this thread has, and notes that it is gone.
#[inline]
pub(super) fn leave(lock: usize, place: Place, end: impl FnOnce()) {
    if !place.is_ours() {
        return;
    }
    // SAFETY: only this thread has the pointer, and no call that uses it is inside another.
    let thread = unsafe { &mut *this() };
    if thread.forget(lock) {
        end();
        thread.free(place.spot());
    }
}

impl Thread {
    /// A place for a lock that the thread does not hold, in the table that it used last. Nothing if there is more to do.
    #[inline]
    fn enter_at_once(&mut self, table: &Arc<LockTable>, lock: usize, mode: Mode) -> Option<Place> {
        let held = &self.held;
        if self.forks != forks()
            || held.len() >= MAX_HELD
            || held.iter().any(|held| held.lock == lock)
        {
            return None;
        }
        let last = self.registrations.get_mut(self.last)?;
        if !last.serves(table) {
            return None;
        }
        let place = last.place();
        self.note(lock, mode, place);
        Some(place)
    }

    #[cold]
    fn enter(
        &mut self,
        table: &Arc<LockTable>,
        lock: usize,
        mode: Mode,
    ) -> Result<Entered, LockError> {
        if self.forks != forks() {
            self.after_fork();
        }
        if let Some(held) = self.held.iter_mut().find(|held| held.lock == lock) {
            if mode == Mode::Other || held.mode != mode {
                return Err(LockError::WouldDeadlock);
            }
            held.count += 1;
            let spot = held.spot;
            let registration = &self.registrations[spot.registration()];
            return Ok(Entered::Again(registration.first.with_hold(spot.hold())));
        }
        if self.held.len() >= MAX_HELD {
            return Err(LockError::TooMany { max: MAX_HELD });
        }
        let place = self.place(table)?;
        self.note(lock, mode, place);
        Ok(Entered::New(place))
    }

    #[inline]
    fn note(&mut self, lock: usize, mode: Mode, place: Place) {
        self.held.push(Held {
            lock,
            count: 1,
            mode,
            spot: place.spot(),
        });
    }

    /// Forgets one hold of `lock`. Returns true if that was the last.
    #[inline]
    fn forget(&mut self, lock: usize) -> bool {
        // Mostly it is the last that was taken; then nothing is moved.
        match self.held.last() {
            Some(held) if held.lock == lock && held.count == 1 => {
                self.held.pop();
                true
            }
            _ => self.forget_other(lock),
        }
    }

    #[cold]
    fn forget_other(&mut self, lock: usize) -> bool {
        let Some(at) = self.held.iter().position(|held| held.lock == lock) else {
            return false;
        };
        if self.held[at].count > 1 {
            self.held[at].count -= 1;
            return false;
        }
        self.held.swap_remove(at);
        true
    }

    #[inline]
    fn free(&mut self, spot: Spot) {
        if let Some(registration) = self.registrations.get_mut(spot.registration()) {
            registration.used &= !(1 << spot.hold());
        }
    }

    /// Forgets what is the parent's.
    #[cold]
    fn after_fork(&mut self) {
        self.forks = forks();
        self.held.clear();
        // The tables stay mapped: copies of the parent's guards may still point into them.
        let theirs = std::mem::take(&mut *self.registrations);
        let _ = ManuallyDrop::new(theirs);
    }

    /// A hold word in `table`.
    fn place(&mut self, table: &Arc<LockTable>) -> Result<Place, LockError> {
        let found = self.registrations.iter().position(|one| one.serves(table));
        self.last = match found {
            Some(found) => found,
            None => self.register(table)?,
        };
        Ok(self.registrations[self.last].place())
    }

    /// Takes a record of `table`. Gives those back that are idle, if they are many, or if their table is nobody else's.
    fn register(&mut self, table: &Arc<LockTable>) -> Result<usize, LockError> {
        // After the destructor has run, a record is left to the kernel.
        let _ = END.try_with(|End| ());
        let idle = || |one: &&mut Registration| one.table.is_some() && one.used == 0;
        let is_many = self.registrations.iter_mut().filter(idle()).count() >= MOST_IDLE;
        let over = self.registrations.iter_mut().filter(idle());
        over.filter(|one| is_many || one.is_alone())
            .for_each(Registration::end);
        let (record, words) = table.register()?;
        let over = self
            .registrations
            .iter()
            .position(|one| one.table.is_none());
        let at = over.unwrap_or(self.registrations.len());
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a thread has at most as many registrations as locks"
        )]
        let first = Place::new(words, record, at as u16, self.forks);
        let registration = Registration {
            table: Some(Arc::clone(table)),
            first,
            words,
            used: 0,
        };
        match self.registrations.get_mut(at) {
            Some(over) => *over = registration,
            None => self.registrations.push(registration),
        }
        Ok(at)
    }
}

impl Registration {
    /// True if it is in `table` and has a free hold word.
    #[inline]
    fn serves(&self, table: &Arc<LockTable>) -> bool {
        let here = self
            .table
            .as_ref()
            .is_some_and(|one| Arc::ptr_eq(one, table));
        here && self.used != u16::MAX
    }

    /// A hold word that is not in use.
    #[inline]
    fn place(&mut self) -> Place {
        let hold = self.used.trailing_ones();
        self.used |= 1 << hold;
        self.first.with_hold(hold as usize)
    }

    /// True if nobody else in this process uses the table: nobody will ask this thread for a lock in it.
    fn is_alone(&self) -> bool {
        let table = self.table.as_ref();
        table.is_some_and(|table| Arc::strong_count(table) == 1)
    }

    /// Gives the record back, and lets the table go.
    fn end(&mut self) {
        LockTable::unregister(self.words);
        self.table = None;
    }
}

impl Drop for End {
    fn drop(&mut self) {
        // SAFETY: only this thread has the pointer, and no call that uses it is inside another.
        let thread = unsafe { &mut *this() };
        let ours = thread.forks == forks();
        drop(std::mem::take(&mut *thread.held));
        for mut one in std::mem::take(&mut *thread.registrations) {
            if ours && one.used == 0 && one.table.is_some() {
                one.end();
            }
            // A record with holds in it is left to the kernel, which ends them with the thread: it writes to the table, which
            // therefore stays mapped.
            let _ = ManuallyDrop::new(one.table);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::{LockOptions, OwnedLock};

    #[test]
    fn more_locks_than_the_kernel_cleans_up_are_refused() {
        let blocks: Vec<OwnedLock> = (0..=MAX_HELD).map(|_| OwnedLock::new().unwrap()).collect();
        let read = |block: &OwnedLock| block.lock().read(LockOptions::default());
        let mut held: Vec<_> = blocks[..MAX_HELD]
            .iter()
            .map(|block| read(block).unwrap())
            .collect();
        let error = read(&blocks[MAX_HELD]).unwrap_err();
        assert_eq!(error, LockError::TooMany { max: MAX_HELD });
        held.pop();
        assert!(read(&blocks[MAX_HELD]).is_ok());
    }

    #[test]
    fn a_thread_holds_hundreds_of_write_locks_and_reads_twice() {
        let blocks: Vec<OwnedLock> = (0..500).map(|_| OwnedLock::new().unwrap()).collect();
        let write = |block: &OwnedLock| block.lock().write(LockOptions::default());
        let held: Vec<_> = blocks.iter().map(|block| write(block).unwrap()).collect();
        drop(held);
        let block = &blocks[0];
        let first = block.lock().read(LockOptions::default()).unwrap();
        let second = block.lock().read(LockOptions::default()).unwrap();
        drop(first);
        assert_eq!(write(block).unwrap_err(), LockError::WouldDeadlock);
        drop(second);
        assert!(write(block).is_ok());
    }
}
