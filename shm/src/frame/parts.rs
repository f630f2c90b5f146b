//! Frames divided among workers.

use std::ops::Range;
use std::sync::Arc;

use numpush_shm_core::{LockError, LockOptions, PartRange, part_range};

use crate::error::Error;
use crate::frame::{FramePartGuard, SharedFrame};
use crate::object::{Divide, Object, Part, Partition, RawObject, divide};

/// Rows whose bits fill a cache line, so that two parts never touch one line of a bitmap.
const GRAIN: usize = 512;

impl SharedFrame {
    /// Divides the frame by rows into `parts`, which workers write at the same time, each under the lock of its part.
    ///
    /// Parts begin at multiples of 512 rows, so that no two share a byte of a bitmap; a frame of fewer rows has fewer
    /// parts. The frame stays locked until the partition and all its parts are dropped. Parts are for other processes:
    /// this thread holds the frame's lock.
    ///
    /// # Errors
    /// [`Error::Lock`]; [`Error::Division`] if `parts` is 0; [`Error::NotOwner`] in a process that has only opened the
    /// frame.
    pub fn partition(&self, parts: usize) -> Result<Partition<Self>, Error> {
        let rows = self.rows();
        if parts == 0 {
            return Err(Error::Division {
                axis: 0,
                parts,
                shape: vec![rows],
                why: "at least one part is needed",
            });
        }
        let parts = parts.min(rows.div_ceil(GRAIN).max(1));
        divide(self, 0, GRAIN, vec![0..self.byte_len(); parts])
    }
}

impl Divide for SharedFrame {
    fn raw(&self) -> &Arc<RawObject> {
        self.object.raw()
    }

    fn divisible(raw: &Arc<RawObject>, axis: usize, grain: usize) -> Result<Self, Error> {
        if axis != 0 || grain != GRAIN {
            return Err(Error::Protocol {
                peer: "the owner".into(),
                what: "a part of a frame that is not whole grains of rows",
            });
        }
        let object = Object::from_raw(Arc::clone(raw))?;
        Ok(Self { object })
    }
}

impl Part<SharedFrame> {
    /// The rows of the part.
    pub fn range(&self) -> Range<usize> {
        let PartRange {
            parts,
            number,
            grain,
        } = self.share().range;
        part_range(self.value().rows(), parts, number, grain)
    }

    /// Locks the part for writing.
    ///
    /// # Errors
    /// [`LockError::Retired`] if the partition is gone; [`LockError::Poisoned`] if another worker died while it wrote
    /// this part.
    pub fn write(&mut self) -> Result<FramePartGuard<'_>, LockError> {
        self.write_with(LockOptions::default())
    }

    /// As [`Self::write`], without a wait.
    ///
    /// # Errors
    /// As [`Self::write`]; [`LockError::Timeout`] names a holder, at once.
    pub fn try_write(&mut self) -> Result<FramePartGuard<'_>, LockError> {
        self.write_with(LockOptions::no_wait())
    }

    /// Locks the part for writing, also after another worker did not finish. The part's poison is cleared: its one
    /// writer writes all of it.
    ///
    /// # Errors
    /// As [`Self::write`], without poison.
    pub fn write_poisoned(&mut self) -> Result<FramePartGuard<'_>, LockError> {
        self.write_with(LockOptions::default().accept_poison(true))
    }

    /// As [`Self::write`], with a timeout or with poison accepted.
    ///
    /// # Errors
    /// As [`Self::write`]; [`LockError::Timeout`] names the holder.
    pub fn write_with(&mut self, options: LockOptions) -> Result<FramePartGuard<'_>, LockError> {
        let (whole, part) = self.share().lock(options)?;
        let frame = self.value();
        Ok(FramePartGuard::new(frame, self.share().range, whole, part))
    }
}
