//! Several locks taken as one.

use std::ops::Range;
use std::time::Instant;

use numpush_shm_core::{LockError, LockOptions, Locked, MemoryRange, Poison, ReadHold, WriteHold};
use smallvec::SmallVec;

/// One deadline for several locks.
struct Deadline(Option<Instant>);

impl Deadline {
    fn new(options: LockOptions) -> Self {
        // A deadline past the clock's end is none.
        let deadline = |timeout| Instant::now().checked_add(timeout);
        Self(options.timeout.and_then(deadline))
    }

    fn left(&self, options: LockOptions) -> LockOptions {
        match self.0 {
            Some(deadline) => options.timeout(deadline.saturating_duration_since(Instant::now())),
            None => options,
        }
    }
}

/// Locks `spans` for reading, in order.
pub(super) fn lock_shared(
    spans: &[MemoryRange<Locked>],
    options: LockOptions,
) -> Result<SmallVec<[ReadHold; 1]>, LockError> {
    let read = |span: &MemoryRange<Locked>, offset, options| {
        let held = span.lock().read(options);
        held.map_err(|error| placed(error, offset, span))
    };
    if let [one] = spans {
        return Ok(SmallVec::from_buf([read(one, 0, options)?]));
    }
    let deadline = Deadline::new(options);
    let mut offset = 0;
    let mut held = SmallVec::with_capacity(spans.len());
    for span in spans {
        held.push(read(span, offset, deadline.left(options))?);
        offset += span.range().len();
    }
    Ok(held)
}

/// Locks `spans` for writing, in order. Of their bytes, `dirty` may be written.
pub(super) fn lock_exclusive(
    spans: &[MemoryRange<Locked>],
    options: LockOptions,
    dirty: Range<usize>,
) -> Result<SmallVec<[WriteHold; 1]>, LockError> {
    let deadline = Deadline::new(options);
    let mut offset = 0;
    let mut held = SmallVec::with_capacity(spans.len());
    for span in spans {
        let len = span.range().len();
        let lock = span.lock().write(deadline.left(options));
        let mut lock = lock.map_err(|error| placed(error, offset, span))?;
        let inside = |at: usize| at.saturating_sub(offset).min(len);
        lock.set_dirty(inside(dirty.start)..inside(dirty.end));
        held.push(lock);
        offset += len;
    }
    Ok(held)
}

/// The error with its dirty bytes counted from the start of the array and ended at the end of the span.
fn placed(error: LockError, offset: usize, span: &MemoryRange<Locked>) -> LockError {
    match error {
        LockError::Poisoned(Poison { cause, pid, dirty }) => {
            let len = span.range().len();
            let dirty = dirty.start.min(len) + offset..dirty.end.min(len) + offset;
            LockError::Poisoned(Poison { cause, pid, dirty })
        }
        other => other,
    }
}
