//! The bytes of a shared value in this process.

use std::ops::Range;
use std::sync::Arc;

use numpush_shm_core::{
    Atomic, Double, LockError, LockOptions, Locked, MemoryRange, Poison, ReadHold, RobustRwLock,
    SharedPages, WriteHold,
};

use crate::error::Error;

/// The bytes of a value: never none, though a run may be empty.
#[derive(Debug)]
pub(crate) enum Spans {
    /// Runs of bytes, at least one, each under its lock.
    Locked(Vec<MemoryRange<Locked>>),
    /// Two buffers, one read and one written.
    Double(Arc<MemoryRange<Double>>),
    /// Atomics, and the locks of the value: the first is held by everybody who reaches them.
    Atomic(MemoryRange<Atomic>, Vec<RobustRwLock>),
}

impl Spans {
    /// The runs of bytes under their locks; none of two buffers, and none of atomics.
    pub(crate) fn locked(&self) -> &[MemoryRange<Locked>] {
        match self {
            Self::Locked(spans) => spans,
            Self::Double(_) | Self::Atomic(..) => &[],
        }
    }

    /// The two buffers of a double-buffered value.
    pub(crate) fn double(&self) -> Option<&Arc<MemoryRange<Double>>> {
        match self {
            Self::Double(pair) => Some(pair),
            Self::Locked(_) | Self::Atomic(..) => None,
        }
    }

    /// The atomics of a value that has nothing else.
    pub(crate) fn atomic(&self) -> Option<&MemoryRange<Atomic>> {
        match self {
            Self::Atomic(cells, _) => Some(cells),
            Self::Locked(_) | Self::Double(_) => None,
        }
    }

    /// The length of span `number`.
    pub(crate) fn len_of(&self, number: usize) -> Option<usize> {
        self.locked().get(number).map(|span| span.range().len())
    }

    /// Checks that span `number`, if there is one, begins at a multiple of `alignment`.
    pub(crate) fn check_alignment(&self, number: usize, alignment: usize) -> Result<(), Error> {
        let place = match self {
            Self::Locked(spans) => spans.get(number).map(MemoryRange::range),
            Self::Double(pair) => (number == 0).then(|| pair.range()),
            Self::Atomic(cells, _) => (number == 0).then(|| cells.range()),
        };
        // Memory is mapped at a page, so that an offset is as even as its address.
        place.map_or(Ok(()), |range| check_alignment(range.start, alignment))
    }

    /// The first lock, which is the only one unless rows or participants have locks of their own.
    pub(crate) fn lock(&self) -> &RobustRwLock {
        match self {
            Self::Locked(spans) => spans[0].lock(),
            Self::Double(pair) => pair.lock(),
            Self::Atomic(cells, _) => cells.lock(),
        }
    }

    /// Takes the only lock, for reading.
    pub(crate) fn read(&self, options: LockOptions) -> Result<ReadHold, LockError> {
        let held = self.lock().read(options);
        held.map_err(|error| self.within(error))
    }

    /// Takes the only lock, to write all bytes.
    pub(crate) fn write(&self, options: LockOptions) -> Result<WriteHold, LockError> {
        let held = self.lock().write(options);
        let mut held = held.map_err(|error| self.within(error))?;
        held.set_dirty(0..self.byte_len());
        Ok(held)
    }

    /// The error with the end of the poisoned bytes at the end of the value: a repair is reported for whatever there is.
    fn within(&self, error: LockError) -> LockError {
        match error {
            LockError::Poisoned(Poison { cause, pid, dirty }) => {
                let len = self.byte_len();
                let dirty = dirty.start.min(len)..dirty.end.min(len);
                LockError::Poisoned(Poison { cause, pid, dirty })
            }
            other => other,
        }
    }

    /// Every lock, once.
    pub(crate) fn locks(&self) -> Vec<&RobustRwLock> {
        let mut locks: Vec<&RobustRwLock> = match self {
            Self::Locked(spans) => spans.iter().map(MemoryRange::<Locked>::lock).collect(),
            Self::Double(pair) => vec![pair.lock()],
            Self::Atomic(_, locks) => locks.iter().collect(),
        };
        locks.dedup_by_key(|lock| lock.id());
        locks
    }

    /// Each run of bytes: its memory, its place there and its lock.
    pub(crate) fn runs(&self) -> Vec<(&Arc<SharedPages>, &Range<usize>, &RobustRwLock)> {
        match self {
            Self::Locked(spans) => spans
                .iter()
                .map(|span| (span.pages(), span.range(), span.lock()))
                .collect(),
            Self::Double(pair) => vec![(pair.pages(), pair.range(), pair.lock())],
            Self::Atomic(cells, _) => vec![(cells.pages(), cells.range(), cells.lock())],
        }
    }

    /// Bytes of the value.
    pub(crate) fn byte_len(&self) -> usize {
        match self {
            Self::Locked(spans) => spans.iter().map(|span| span.range().len()).sum(),
            Self::Double(pair) => pair.range().len(),
            Self::Atomic(cells, _) => cells.range().len(),
        }
    }
}

/// Checks that elements which begin at `offset` of memory are aligned.
pub(crate) fn check_alignment(offset: usize, alignment: usize) -> Result<(), Error> {
    if offset.is_multiple_of(alignment) {
        Ok(())
    } else {
        Err(Error::Misaligned { offset, alignment })
    }
}
