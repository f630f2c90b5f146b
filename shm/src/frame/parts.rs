//! Frames divided among workers.

use std::ops::Range;
use std::sync::Arc;

use numpush_shm_core::{Division, LockError, LockOptions, block_range};

use crate::error::Error;
use crate::frame::{FramePartGuard, SharedFrame};
use crate::object::{Divide, Object, Part, Partition, RawObject, divide};

/// Rows whose bits fill a cache line, so that two parts never touch one line of a bitmap.
const GRAIN: u32 = 512;

impl SharedFrame {
    /// Divides the frame by rows into `parts`, which workers write at the same time, each under the lock of its part.
    ///
    /// Parts begin at multiples of 512 rows, so that no two share a byte of a bitmap; a frame of fewer rows has fewer
    /// parts. The frame stays locked for writing until the partition is dropped.
    ///
    /// # Errors
    /// [`Error::Lock`]; [`Error::Division`] if `parts` is 0 or over 16,777,215; [`Error::Io`] without memory for the locks.
    pub fn partition(&self, parts: usize) -> Result<Partition<Self>, Error> {
        let rows = self.rows();
        let refused = |why| Error::Division {
            axis: 0,
            parts,
            shape: vec![rows],
            why,
        };
        if parts == 0 {
            return Err(refused("at least one part is needed"));
        }
        let fewer = parts.min(rows.div_ceil(GRAIN as usize).max(1));
        let division = Division::new([(0, fewer)], GRAIN);
        let division = division.ok_or_else(|| refused("it has at most 16777215 parts"))?;
        divide(self, division, vec![0..self.byte_len(); fewer])
    }
}

impl Divide for SharedFrame {
    fn raw(&self) -> &Arc<RawObject> {
        self.object.raw()
    }

    fn divisible(raw: &Arc<RawObject>, division: Division) -> Result<Self, Error> {
        if division.grain() != GRAIN || division.cuts().any(|(axis, _)| axis != 0) {
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
        let id = self.share().id;
        block_range(id.division, id.number, 0, self.value().rows())
    }

    /// Locks the part for writing.
    ///
    /// # Errors
    /// [`LockError::Retired`] if the partition is gone, or the thread that made it; [`LockError::Poisoned`] if another
    /// worker died while it wrote this part.
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
        let part = self.share().lock(options)?;
        Ok(FramePartGuard::new(self.value(), part))
    }
}
