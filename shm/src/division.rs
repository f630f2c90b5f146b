//! What an array and a frame have in common when they are handed out in parts.

use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use numpush_shm_core::{
    LockError, LockOptions, OwnedLock, PartRange, ReadHold, RobustRwLock, WriteHold,
};
use serde::{Deserialize, Serialize};

use crate::client;
use crate::error::Error;
use crate::handle::Handle;
use crate::object::{LockOffer, Object, open_lock};

/// A value that is locked because parts of it are out.
#[derive(Debug)]
pub(crate) struct Divided {
    held: WriteHold,
    blocks: Vec<OwnedLock>,
    /// Bytes of each part, for the report of an unfinished one.
    bytes: Vec<Range<usize>>,
}

/// A share in the work on a value: what names a part in another process.
#[derive(Clone, Debug)]
pub(crate) struct Share {
    pub(crate) value: Arc<Object>,
    lock: RobustRwLock,
    offer: LockOffer,
    epoch: u64,
    pub(crate) division: PartRange,
    /// Keeps the value locked, in the process that divided it.
    _divided: Option<Rc<Divided>>,
}

/// A share as it is sent.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ShareOffer {
    handle: Handle,
    lock: LockOffer,
    epoch: u64,
    parts: usize,
    number: usize,
    grain: usize,
}

/// Locks `value` and divides it; `bytes` are those of each part.
pub(crate) fn divide(
    value: &Arc<Object>,
    grain: usize,
    bytes: Vec<Range<usize>>,
) -> Result<Vec<Share>, Error> {
    value.owned("divide it")?;
    let parts = bytes.len();
    let blocks: Result<Vec<OwnedLock>, _> = (0..parts).map(|_| OwnedLock::new()).collect();
    let blocks = blocks.map_err(Error::io("make the locks of parts"))?;
    let mut held = value.lock().write(LockOptions::default())?;
    let epoch = held.hand_out_parts();
    let locks: Vec<(RobustRwLock, LockOffer)> = blocks
        .iter()
        .map(|block| (block.lock(), LockOffer::new(block)))
        .collect();
    let divided = Rc::new(Divided {
        held,
        blocks,
        bytes,
    });
    let share = |(number, (lock, offer)): (usize, (RobustRwLock, LockOffer))| Share {
        value: Arc::clone(value),
        lock,
        offer,
        epoch,
        division: PartRange {
            parts,
            number,
            grain,
        },
        _divided: Some(Rc::clone(&divided)),
    };
    Ok(locks.into_iter().enumerate().map(share).collect())
}

impl Share {
    /// Takes the part's lock, beside workers on other parts. If it was poisoned, and that is accepted, it is no more: a
    /// part has one writer at a time, who writes all of it.
    pub(crate) fn lock(&self, attempt: LockOptions) -> Result<(ReadHold, WriteHold), LockError> {
        let whole = self.value.lock().join_parts(self.epoch, attempt)?;
        let mut part = self.lock.write(attempt)?;
        part.clear_poison();
        Ok((whole, part))
    }

    pub(crate) fn offer(&self) -> Result<ShareOffer, Error> {
        let PartRange {
            parts,
            number,
            grain,
        } = self.division;
        Ok(ShareOffer {
            handle: self.value.handle()?,
            lock: self.offer,
            epoch: self.epoch,
            parts,
            number,
            grain,
        })
    }

    pub(crate) fn open(offer: ShareOffer) -> Result<Self, Error> {
        let ShareOffer {
            handle,
            lock: lock_offer,
            epoch,
            parts,
            number,
            grain,
        } = offer;
        if number >= parts || grain == 0 {
            return Err(Error::Protocol {
                peer: handle.owner,
                what: "a part that is not there",
            });
        }
        let value = client::open(&handle)?;
        let lock = open_lock(lock_offer, &mut |memory| client::fetch(&handle, memory))?;
        let division = PartRange {
            parts,
            number,
            grain,
        };
        Ok(Self {
            value,
            lock,
            offer: lock_offer,
            epoch,
            division,
            _divided: None,
        })
    }
}

impl Drop for Divided {
    fn drop(&mut self) {
        // Workers that still write are waited for; one that died is not.
        let _ = self.held.take_back_parts(None);
        let unfinished = |(block, bytes): (&OwnedLock, &Range<usize>)| {
            let poison = block.lock().state().poison?;
            Some(numpush_shm_core::Poison {
                dirty: bytes.clone(),
                ..poison
            })
        };
        let mut all = self.blocks.iter().zip(&self.bytes).filter_map(unfinished);
        if let Some(first) = all.next() {
            // One range for all of them: from the first dirty byte to the last.
            let dirty = all.fold(first.dirty.clone(), |sum, one| {
                sum.start.min(one.dirty.start)..sum.end.max(one.dirty.end)
            });
            self.held
                .set_poison(numpush_shm_core::Poison { dirty, ..first });
        }
    }
}
