//! The bytes of a shared value in this process.

use std::ops::Range;
use std::sync::Arc;

use numpush_shm_core::{Double, Locked, MemoryRange, RobustRwLock, SharedPages};

use crate::error::Error;

/// The bytes of a value: never none, though a run may be empty.
#[derive(Debug)]
pub(crate) enum Spans {
    /// Runs of bytes, at least one, each under its lock.
    Locked(Vec<MemoryRange<Locked>>),
    /// Two buffers, one read and one written.
    Double(Arc<MemoryRange<Double>>),
}

impl Spans {
    /// The runs of bytes under their locks; none of two buffers.
    pub(crate) fn locked(&self) -> &[MemoryRange<Locked>] {
        match self {
            Self::Locked(spans) => spans,
            Self::Double(_) => &[],
        }
    }

    /// The two buffers of a double-buffered value.
    pub(crate) fn double(&self) -> Option<&Arc<MemoryRange<Double>>> {
        match self {
            Self::Locked(_) => None,
            Self::Double(pair) => Some(pair),
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
        };
        // Memory is mapped at a page, so that an offset is as even as its address.
        place.map_or(Ok(()), |range| check_alignment(range.start, alignment))
    }

    /// The first lock, which is the only one unless rows have locks of their own.
    pub(crate) fn lock(&self) -> &RobustRwLock {
        match self {
            Self::Locked(spans) => spans[0].lock(),
            Self::Double(pair) => pair.lock(),
        }
    }

    /// Every lock, once.
    pub(crate) fn locks(&self) -> Vec<&RobustRwLock> {
        let mut locks: Vec<&RobustRwLock> = match self {
            Self::Locked(spans) => spans.iter().map(MemoryRange::<Locked>::lock).collect(),
            Self::Double(pair) => vec![pair.lock()],
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
        }
    }

    /// Bytes of the value.
    pub(crate) fn byte_len(&self) -> usize {
        match self {
            Self::Locked(spans) => spans.iter().map(|span| span.range().len()).sum(),
            Self::Double(pair) => pair.range().len(),
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
