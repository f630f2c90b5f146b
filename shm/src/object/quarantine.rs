//! Values that are gone while somebody may still hold their locks.
//!
//! Their owner does not know of every holder: a process forked from it inherits values without a lease, a peer may have
//! lost its connection while it reads, a guard may be forgotten. The memory of such a value is not used for another one
//! before the last of them has let go or died.

use std::sync::Arc;

use numpush_os::GlobalMutex;
use numpush_shm_core::OwnedLock;

use crate::arena::Reservation;

/// The locks and the memory of a value that is gone.
struct Quarantined {
    locks: Vec<OwnedLock>,
    _reservations: Vec<Arc<Reservation>>,
}

static QUARANTINE: GlobalMutex<Vec<Quarantined>> = GlobalMutex::new(Vec::new());

/// Retires `locks`. If somebody may still hold one of them, keeps them and the memory that they guard, until a later call
/// finds that nobody does.
pub(super) fn retire(locks: &mut Vec<OwnedLock>, reservations: &mut Vec<Arc<Reservation>>) {
    let are_free = retire_all(locks);
    let mut quarantine = QUARANTINE.lock();
    let held = quarantine.extract_if(.., |one| retire_all(&mut one.locks));
    // Memory goes back to its arena after the lock of this list is free again.
    let free: Vec<Quarantined> = held.collect();
    if !are_free {
        quarantine.push(Quarantined {
            locks: std::mem::take(locks),
            _reservations: std::mem::take(reservations),
        });
    }
    drop(quarantine);
    drop(free);
}

/// Retires every lock. Returns false if somebody may still hold one.
fn retire_all(locks: &mut [OwnedLock]) -> bool {
    let held = locks
        .iter_mut()
        .map(OwnedLock::retire)
        .filter(|retired| !retired);
    held.count() == 0
}
