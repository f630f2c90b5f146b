//! The side of a client: opens the values of other processes, and lets go of them.
//!
//! A process has a [`Slot`] for each owner, with at most one connection that is in use. A thread of its own looks after
//! connections that nobody uses at the moment: [`Watch`](watch::Watch).

mod cache;
mod connection;
mod options;
mod slot;
mod state;
mod turn;
mod watch;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use numpush_os::GlobalMutex;
use numpush_shm_core::{RobustRwLock, forks};

use crate::error::Error;
use crate::object::enclosed::at_hand;
use crate::object::handle::{Handle, OwnerName};
use crate::object::protocol::{LockOffer, OwnerReport, Reply, Request};
use crate::object::raw::RawObject;
use crate::object::server;
use connection::Connection;
pub use options::{LeaseOptions, set_lease_options};
use slot::Slot;
use turn::Begun;

/// Opens the value of a handle, in the process that made it or in another one of the same user.
pub(crate) fn open(handle: &Handle) -> Result<Arc<RawObject>, Error> {
    if let Some(value) = at_hand(handle) {
        return Ok(value);
    }
    if server::is_this_process(handle.owner) {
        let found = RawObject::find_owned(handle.number);
        return found.ok_or_else(|| connection::stale(handle, connection::VALUE_GONE));
    }
    open_until(handle, deadline())
}

/// Until when an owner has to answer, the connection to it included.
fn deadline() -> Instant {
    let now = Instant::now();
    // Past the end of the clock, a year is as good.
    now.checked_add(options::patience())
        .unwrap_or(now + Duration::from_secs(365 * 24 * 3600))
}

fn open_until(handle: &Handle, deadline: Instant) -> Result<Arc<RawObject>, Error> {
    match slot(handle.owner)?.begin(Some(handle.number), deadline)? {
        Begun::Found(object) => Ok(object),
        Begun::Turn(mut turn) => turn.open(handle, deadline),
    }
}

/// Opens a lock of the process that `handle` names.
pub(super) fn open_lock(handle: &Handle, lock: LockOffer) -> Result<RobustRwLock, Error> {
    if let Some(lock) = RobustRwLock::find(lock.memory, lock.address()) {
        return Ok(lock);
    }
    let stale = || connection::stale(handle, connection::VALUE_GONE);
    if server::is_this_process(handle.owner) {
        return Err(stale());
    }
    let deadline = deadline();
    match slot(handle.owner)?.begin(None, deadline)? {
        Begun::Found(_) => Err(stale()),
        Begun::Turn(mut turn) => turn.open_lock(handle, lock, deadline),
    }
}

/// What an owner answers to who asks for a report.
pub(super) enum Answer {
    Report(OwnerReport),
    /// Nothing, until the deadline. This is its process, if it was heard of.
    Silence(Option<u32>),
}

/// Asks the owner `name` what it shares, until `deadline`.
pub(super) fn report(name: OwnerName, deadline: Instant) -> Result<Answer, Error> {
    let handle = Handle {
        owner: name,
        number: 0,
    };
    let mut connection = match Connection::connect(&handle, 0, deadline) {
        Err(Error::Busy { .. }) => return Ok(Answer::Silence(None)),
        connected => connected?,
    };
    let owner = connection.owner;
    let mut ask = |after| {
        let (reply, _) = connection
            .ask(&Request::Report(after), deadline, &mut Vec::new())
            .map_err(|error| connection::failed(&handle, error))?;
        match reply {
            Reply::Report(report, next) => Ok((report, next)),
            _ => Err(Error::Protocol {
                peer: name.to_string(),
                what: "no report",
            }),
        }
    };
    let mut all = || {
        let (mut report, mut next) = ask(0)?;
        while let Some(after) = next {
            let (page, rest) = ask(after)?;
            report.values.extend(page.values);
            // An owner that goes back would be asked forever.
            next = rest.filter(|&rest| rest > after);
        }
        Ok(report)
    };
    match all() {
        Ok(report) => Ok(Answer::Report(report)),
        Err(Error::Busy { .. }) => Ok(Answer::Silence(Some(owner))),
        Err(error) => Err(error),
    }
}

/// The owners that this process knows.
struct Owners {
    forks: u32,
    slots: BTreeMap<OwnerName, Arc<Slot>>,
}

static OWNERS: GlobalMutex<Owners> = GlobalMutex::outer(Owners {
    forks: 0,
    slots: BTreeMap::new(),
});

/// The slot of an owner. Nothing waits here.
fn slot(owner: OwnerName) -> Result<Arc<Slot>, Error> {
    let watch = watch::watch()?;
    let mut owners = OWNERS.lock();
    let forks = forks();
    if owners.forks != forks {
        // The connections are the parent's.
        owners.slots.clear();
        owners.forks = forks;
    }
    if let Some(slot) = owners.slots.get(&owner) {
        return Ok(Arc::clone(slot));
    }
    owners.slots.retain(|_, slot| slot.is_in_use());
    let slot = Arc::new(Slot::new(owner, forks, watch));
    owners.slots.insert(owner, Arc::clone(&slot));
    Ok(slot)
}

#[cfg(test)]
mod tests;
