//! A value that is divided among workers, and the share of each.

use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use numpush_shm_core::{
    LockError, LockOptions, OwnedLock, PartHold, PartRange, Poison, RobustRwLock, WriteHold,
};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::object::client;
use crate::object::handle::Handle;
use crate::object::protocol::LockOffer;
use crate::object::raw::RawObject;
use crate::object::server::handle_of;

/// A value that is locked because parts of it are handed out.
#[derive(Debug)]
struct Divided {
    held: WriteHold,
    locks: Vec<OwnedLock>,
    /// Bytes of each part, for the report of an unfinished one.
    bytes: Vec<Range<usize>>,
}

/// One part of a divided value: its lock, and which part it is.
#[derive(Clone, Debug)]
pub(crate) struct Share {
    // Dropped before the value: the drop of the last share works on the value's lock.
    _divided: Option<Rc<Divided>>,
    value: Arc<RawObject>,
    lock: RobustRwLock,
    offer: LockOffer,
    epoch: u64,
    pub(crate) axis: usize,
    pub(crate) range: PartRange,
}

/// A share as processes send it to each other.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ShareOffer {
    handle: Handle,
    lock: LockOffer,
    epoch: u64,
    axis: usize,
    parts: usize,
    number: usize,
    grain: usize,
}

impl Share {
    /// Locks `value` and divides it along `axis`, in multiples of `grain` items, into as many parts as there are `bytes`: the bytes
    /// that each part may write.
    pub(super) fn divide(
        value: &Arc<RawObject>,
        axis: usize,
        grain: usize,
        bytes: Vec<Range<usize>>,
    ) -> Result<Vec<Self>, Error> {
        value.owned("divide it")?;
        let parts = bytes.len();
        let locks: Result<Vec<OwnedLock>, _> = (0..parts).map(|_| OwnedLock::new()).collect();
        let locks = locks.map_err(Error::io("make the locks of parts"))?;
        let mut held = value.lock().write(LockOptions::default())?;
        let whole = PartRange {
            parts,
            number: 0,
            grain,
        };
        let epoch = held.hand_out_parts(whole.division(axis));
        for (number, lock) in (0..).zip(&locks) {
            lock.mark_part(value.lock(), epoch, number);
        }
        let offer = |lock: &OwnedLock| (lock.lock().clone(), LockOffer::new(lock));
        let offers: Vec<(RobustRwLock, LockOffer)> = locks.iter().map(offer).collect();
        let divided = Rc::new(Divided { held, locks, bytes });
        let share = |(number, (lock, offer))| Self {
            _divided: Some(Rc::clone(&divided)),
            value: Arc::clone(value),
            lock,
            offer,
            epoch,
            axis,
            range: PartRange {
                parts,
                number,
                grain,
            },
        };
        Ok(offers.into_iter().enumerate().map(share).collect())
    }

    /// Takes the part's lock, beside workers on other parts. The first hold is that of the whole.
    ///
    /// A poison that was accepted is cleared: a part has one writer at a time, who writes all of it.
    pub(crate) fn lock(&self, options: LockOptions) -> Result<(PartHold, WriteHold), LockError> {
        let (value, number) = (self.value.lock(), self.range.number as u64);
        let whole = value.join_parts(self.epoch, self.range.division(self.axis))?;
        if !self.lock.is_of_part(value, self.epoch, number) {
            return Err(LockError::OtherPart);
        }
        let mut part = self.lock.write(options)?;
        part.clear_poison();
        Ok((whole, part))
    }

    pub(super) fn value(&self) -> &Arc<RawObject> {
        &self.value
    }

    pub(super) fn offer(&self) -> Result<ShareOffer, Error> {
        let PartRange {
            parts,
            number,
            grain,
        } = self.range;
        Ok(ShareOffer {
            handle: handle_of(&self.value)?,
            lock: self.offer,
            epoch: self.epoch,
            axis: self.axis,
            parts,
            number,
            grain,
        })
    }

    pub(super) fn open(offer: ShareOffer) -> Result<Self, Error> {
        let ShareOffer {
            handle,
            lock: lock_offer,
            epoch,
            axis,
            parts,
            number,
            grain,
        } = offer;
        if number >= parts || grain == 0 {
            return Err(Error::Protocol {
                peer: handle.to_string(),
                what: "a part that does not exist",
            });
        }
        let value = client::open(&handle)?;
        let lock = client::open_lock(&handle, lock_offer)?;
        Ok(Self {
            _divided: None,
            value,
            lock,
            offer: lock_offer,
            epoch,
            axis,
            range: PartRange {
                parts,
                number,
                grain,
            },
        })
    }
}

impl Drop for Divided {
    fn drop(&mut self) {
        // Waits for workers that still write, not for those that died.
        let _ = self.held.take_back_parts(None);
        let unfinished = |(lock, bytes): (&OwnedLock, &Range<usize>)| {
            let poison = lock.lock().state().poison?;
            Some(Poison {
                dirty: bytes.clone(),
                ..poison
            })
        };
        let mut all = self.locks.iter().zip(&self.bytes).filter_map(unfinished);
        if let Some(first) = all.next() {
            // One range for all of them: from the first dirty byte to the last.
            let dirty = all.fold(first.dirty.clone(), |sum, one| {
                sum.start.min(one.dirty.start)..sum.end.max(one.dirty.end)
            });
            self.held.set_poison(Poison { dirty, ..first });
        }
    }
}
