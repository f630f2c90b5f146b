//! A value that is divided among workers, and the share of each.

use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use numpush_shm_core::{
    DividedHold, DividedPart, Division, LockError, LockOptions, OwnedLock, PartHold, PartId,
    RobustRwLock, StepHold,
};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::object::client;
use crate::object::handle::{Handle, OwnerName};
use crate::object::protocol::LockOffer;
use crate::object::raw::RawObject;
use crate::object::server::{self, handle_of};

/// One part of a divided value: its lock, and which part it is.
#[derive(Clone, Debug)]
pub(crate) struct Share {
    value: Arc<RawObject>,
    lock: RobustRwLock,
    offer: LockOffer,
    /// The process that divided the value; nothing if it is this one.
    divider: Option<OwnerName>,
    pub(crate) id: PartId,
}

/// The locks of all parts, in the process that divided the value.
#[derive(Clone, Debug)]
pub(super) struct Shares {
    locks: Arc<[(RobustRwLock, LockOffer)]>,
    value: Arc<RawObject>,
    epoch: u64,
    division: Division,
}

/// A share as processes send it to each other.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ShareOffer {
    handle: Handle,
    /// The process that has the lock, of no value.
    divider: Handle,
    lock: LockOffer,
    epoch: u64,
    /// The axes that have more than one block, and how many.
    blocks: Vec<(usize, usize)>,
    grain: u32,
    number: usize,
}

/// Locks `value` and divides it into as many parts as there are `bytes`: the bytes among which those of each part are.
pub(super) fn divide(
    value: &Arc<RawObject>,
    division: Division,
    bytes: impl IntoIterator<Item = Range<usize>>,
) -> Result<(Rc<DividedHold>, Shares), Error> {
    let part = |bytes| {
        let lock = OwnedLock::new()?;
        Ok(DividedPart { lock, bytes })
    };
    let parts: Result<Vec<DividedPart>, _> = bytes.into_iter().map(part).collect();
    let parts = parts.map_err(Error::io("make the locks of parts"))?;
    let (lock, options) = (value.lock(), LockOptions::default());
    let divided = match value.spans.double() {
        None => lock.divide(division, parts, options)?,
        Some(_) => lock.divide_steps(division, parts, options)?,
    };
    let locks = divided.locks();
    let shares = Shares {
        locks: locks
            .map(|lock| (lock.lock().clone(), LockOffer::new(lock)))
            .collect(),
        value: Arc::clone(value),
        epoch: divided.epoch(),
        division,
    };
    Ok((divided, shares))
}

impl Shares {
    pub(super) fn len(&self) -> usize {
        self.locks.len()
    }

    pub(super) fn share(&self, number: usize) -> Option<Share> {
        let (lock, offer) = self.locks.get(number)?;
        let id = PartId {
            epoch: self.epoch,
            division: self.division,
            number,
        };
        Some(Share {
            value: Arc::clone(&self.value),
            lock: lock.clone(),
            offer: *offer,
            divider: None,
            id,
        })
    }
}

impl Share {
    /// Takes the part, beside workers on other parts.
    pub(crate) fn lock(&self, options: LockOptions) -> Result<PartHold, LockError> {
        self.value.lock().hold_part(self.id, &self.lock, options)
    }

    /// Takes the part of the next commit of a double-buffered value.
    pub(crate) fn lock_step(&self, options: LockOptions) -> Result<StepHold, LockError> {
        self.value.lock().hold_step(self.id, &self.lock, options)
    }

    pub(super) fn value(&self) -> &Arc<RawObject> {
        &self.value
    }

    pub(super) fn offer(&self) -> Result<ShareOffer, Error> {
        let PartId {
            epoch,
            division,
            number,
        } = self.id;
        Ok(ShareOffer {
            handle: handle_of(&self.value)?,
            divider: Handle {
                owner: self.divider.map_or_else(server::name, Ok)?,
                number: 0,
            },
            lock: self.offer,
            epoch,
            blocks: division.cuts().collect(),
            grain: division.grain(),
            number,
        })
    }

    pub(super) fn open(offer: ShareOffer) -> Result<Self, Error> {
        let ShareOffer {
            handle,
            divider,
            lock: lock_offer,
            epoch,
            blocks,
            grain,
            number,
        } = offer;
        let division = Division::new(blocks, grain);
        let division = division.filter(|division| number < division.blocks());
        let division = division.ok_or_else(|| Error::Protocol {
            peer: handle.to_string(),
            what: "a part that does not exist",
        })?;
        let value = client::open(&handle)?;
        Ok(Self {
            value,
            lock: client::open_lock(&divider, lock_offer)?,
            offer: lock_offer,
            divider: Some(divider.owner),
            id: PartId {
                epoch,
                division,
                number,
            },
        })
    }
}
