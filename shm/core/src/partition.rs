//! Parts of guarded bytes that workers write at the same time, each under its own lock.

use std::ops::Range;

use bytemuck::Pod;
use ndarray::{ArrayView, ArrayViewMut, Dimension};

use crate::block::{block_view, byte_len};
use crate::lock::{PartHold, PartId, StepHold};
use crate::memory::{Double, Locked, MemoryRange, RangeInUse};
use crate::part_range::part_range;

/// A run of bytes of which a part is meant: its number of items, and how many rows of the divided value each of them is
/// about. A byte of a bitmap is about eight.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "the caller fills it in")]
pub struct DividedRun<'a> {
    /// The bytes.
    pub bytes: &'a MemoryRange<Locked>,
    /// Number of items. All have the same number of bytes.
    pub items: usize,
    /// Rows for each item.
    pub rows: usize,
}

/// The geometry of bytes that are not divided: all may read them, and nobody writes. No array has this shape: it would not
/// fit an address space.
const UNDIVIDED: [usize; 3] = [usize::MAX; 3];

impl MemoryRange<Locked> {
    /// The same part of several runs of bytes, divided along axis 0, to write.
    ///
    /// # Errors
    /// [`RangeInUse`] if this process knows bytes divided in another way.
    ///
    /// # Panics
    /// If the lock held is another one, if bytes are not whole items or grains not whole items, or if two runs overlap.
    pub fn part_bytes_mut<'a>(
        all: &[DividedRun<'a>],
        part: &'a mut PartHold,
    ) -> Result<Vec<&'a mut [u8]>, RangeInUse> {
        let runs: Vec<&Self> = all.iter().map(|one| one.bytes).collect();
        Self::assert_disjoint(&runs);
        let id = part.id();
        let (at, parts) = id.division.place(id.number, 0);
        let grain = id.division.grain() as usize;
        // Along other axes nothing is cut here, so that blocks of them would be the same bytes.
        assert_eq!(parts, id.division.blocks(), "bytes divided along axis 0");
        let mut found = Vec::with_capacity(all.len());
        for DividedRun { bytes, items, rows } in all {
            let len = bytes.range().len();
            assert!(
                *items > 0 && len.is_multiple_of(*items),
                "{len} bytes of {items} items"
            );
            assert!(
                *rows > 0 && grain.is_multiple_of(*rows),
                "grains of {grain} rows"
            );
            let item = len / items;
            let base = bytes.part_pointer(part, &[*items, *rows])?;
            let Range { start, end } = part_range(*items, parts, at, grain / rows);
            // SAFETY: a division lies inside the items, and these inside the mapped bytes.
            let first = unsafe { base.add(start * item) };
            // SAFETY: the part is held alone and borrowed alone (`PartHold`, 1); the whole's lock lets nobody in but workers
            // on other parts, and the parts of one division are disjoint. The runs are disjoint too.
            found.push(unsafe {
                std::slice::from_raw_parts_mut(first.as_ptr(), (end - start) * item)
            });
        }
        Ok(found)
    }

    /// As [`Self::part_bytes_mut`], and all bytes of `read`, which are divided for nobody.
    ///
    /// # Errors
    /// [`RangeInUse`] if this process knows bytes divided in another way, or bytes of `read` divided at all.
    ///
    /// # Panics
    /// As [`Self::part_bytes_mut`]; and if the lock held is not that of `read`.
    pub fn part_bytes_beside<'a>(
        all: &[DividedRun<'a>],
        read: &[&'a Self],
        part: &'a mut PartHold,
    ) -> Result<BytesBeside<'a>, RangeInUse> {
        let mut undivided = Vec::with_capacity(read.len());
        for bytes in read {
            let first = bytes.part_pointer(part, &UNDIVIDED)?;
            let len = bytes.range().len();
            // SAFETY: inside the mapped bytes. Nobody writes them before the parts are taken back, for which `part` has to be
            // dropped (`PartHold`, 2): whoever works on a part writes bytes that are divided, and these are not.
            undivided.push(unsafe { std::slice::from_raw_parts(first.as_ptr(), len) });
        }
        Ok((Self::part_bytes_mut(all, part)?, undivided))
    }

    /// A part of the bytes as a block of an array in C order, to write.
    ///
    /// # Errors
    /// [`RangeInUse`] if this process knows the bytes divided in another way.
    ///
    /// # Panics
    /// If the lock held is another one, if the array has fewer axes than the division, or if the bytes are not its elements.
    pub fn part_view_mut<'a, T: Pod, D: Dimension>(
        &'a self,
        part: &'a mut PartHold,
        shape: &D,
    ) -> Result<ArrayViewMut<'a, T, D>, RangeInUse> {
        let bytes = byte_len::<T>(shape.slice());
        assert_eq!(bytes, Some(self.range().len()), "shape {:?}", shape.slice());
        assert_divides(part.id(), shape.ndim());
        let first = self.part_pointer(part, shape.slice())?.cast::<T>();
        assert!(first.is_aligned(), "elements at {first:?}");
        // SAFETY: the elements are there, by the checks above; for the rest as for `part_bytes_mut`.
        Ok(unsafe { block_view(first, shape, part.id()) })
    }
}

/// The bytes that a part writes, of several runs, and those that it reads.
pub type BytesBeside<'a> = (Vec<&'a mut [u8]>, Vec<&'a [u8]>);

/// The last commit, and a part of the next one.
pub type StepViews<'a, T, D> = (ArrayView<'a, T, D>, ArrayViewMut<'a, T, D>);

impl MemoryRange<Double> {
    /// The last commit, and a part of the next one as a block of an array in C order, to write.
    ///
    /// # Errors
    /// [`RangeInUse`] if this process knows the bytes divided in another way.
    ///
    /// # Panics
    /// As [`MemoryRange::part_view_mut`], of the bytes of two arrays; and if the step is finished.
    pub fn step_views<'a, T: Pod, D: Dimension>(
        &'a self,
        step: &'a mut StepHold,
        shape: &D,
    ) -> Result<StepViews<'a, T, D>, RangeInUse> {
        let bytes = byte_len::<T>(shape.slice()).and_then(|bytes| bytes.checked_mul(2));
        assert_eq!(bytes, Some(self.range().len()), "shape {:?}", shape.slice());
        assert_divides(step.id(), shape.ndim());
        let [last, next] = self.step_pointers(step, shape.slice())?;
        let (last, next) = (last.cast::<T>(), next.cast::<T>());
        assert!(
            last.is_aligned() && next.is_aligned(),
            "elements at {last:?}"
        );
        step.begin_writing();
        // SAFETY: the elements are there, by the checks above, and nobody writes them before this part has finished the
        // step (`StepHold`, 1), for which `step` has to be borrowed again.
        let last = unsafe { ArrayView::from_shape_ptr(shape.clone(), last.as_ptr()) };
        // SAFETY: as for `part_bytes_mut`; whoever read the buffer has left it (`StepHold`, 1).
        Ok((last, unsafe { block_view(next, shape, step.id()) }))
    }
}

/// Along an axis that is not there nothing would be cut: all blocks would have the same elements.
fn assert_divides(id: PartId, axes: usize) {
    let mut cuts = id.division.cuts();
    assert!(
        cuts.all(|(axis, _)| axis < axes),
        "a division of {axes} axes"
    );
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::DividedRun;
    use crate::lock::{
        DividedHold, DividedPart, Division, LockError, LockOptions, OwnedLock, PartId,
    };
    use crate::memory::{MemoryRange, PageOptions, SharedPages};
    use ndarray::{Dim, Ix2};

    fn parts(count: usize) -> Vec<DividedPart> {
        let part = |_| DividedPart {
            lock: OwnedLock::new().unwrap(),
            bytes: 0..usize::MAX,
        };
        (0..count).map(part).collect()
    }

    /// The locks and names of the parts, which another thread may have.
    fn shares(divided: &Rc<DividedHold>) -> Vec<(PartId, crate::lock::RobustRwLock)> {
        let (epoch, division) = (divided.epoch(), divided.division());
        let id = |number| PartId {
            epoch,
            division,
            number,
        };
        let locks = divided.locks().map(|lock| lock.lock().clone());
        locks
            .enumerate()
            .map(|(number, lock)| (id(number), lock))
            .collect()
    }

    #[test]
    fn blocks_interleave_without_touching() {
        let pages = SharedPages::new(4096, PageOptions::default()).unwrap();
        let whole = OwnedLock::new().unwrap();
        let taken = pages.take_exclusive(0..20 * 8).unwrap();
        let guarded = taken.into_locked(whole.lock());
        let division = Division::new([(0, 2), (1, 2)], 1).unwrap();
        let options = LockOptions::default();
        let divided = whole.lock().divide(division, parts(4), options).unwrap();
        let shares = shares(&divided);
        let work = |(id, lock): &(PartId, crate::lock::RobustRwLock), shape: Ix2| {
            let mut held = whole.lock().hold_part(*id, lock, options)?;
            let view = guarded.part_view_mut::<u64, _>(&mut held, &shape);
            view.map(|mut view| view.fill(id.number as u64 + 1))
                .map_err(|_| LockError::OtherPart)
        };
        let shape = Dim([4, 5]);
        std::thread::scope(|scope| {
            for share in &shares[1..] {
                scope.spawn(move || work(share, shape).unwrap());
            }
        });
        // The thread that divides works too, and may have several parts at a time.
        let both = [0, 1].map(|at| whole.lock().hold_part(shares[at].0, &shares[at].1, options));
        assert!(both.iter().all(Result::is_ok));
        drop(both);
        work(&shares[0], shape).unwrap();
        // The lock of one part does not open another, and the bytes have one shape.
        let forged = (shares[0].0, shares[1].1.clone());
        assert_eq!(work(&forged, shape), Err(LockError::OtherPart));
        assert!(work(&shares[0], Dim([5, 4])).is_err());
        drop(divided);
        assert_eq!(work(&shares[0], shape), Err(LockError::Retired));
        let held = whole.lock().read(options).unwrap();
        let numbers: &[u64] = bytemuck::cast_slice(guarded.bytes(&held));
        assert_eq!(numbers[..10], [1, 1, 1, 2, 2, 1, 1, 1, 2, 2]);
        assert_eq!(numbers[10..], [3, 3, 3, 4, 4, 3, 3, 3, 4, 4]);
    }

    #[test]
    fn bytes_that_a_part_reads_are_divided_for_nobody() {
        let pages = SharedPages::new(4096, PageOptions::default()).unwrap();
        let whole = OwnedLock::new().unwrap();
        let join = |range| pages.join_locked(range, whole.lock()).unwrap();
        let (written, read) = (join(0..64), join(64..128));
        let division = Division::new([(0, 2)], 1).unwrap();
        let options = LockOptions::default();
        let divided = whole.lock().divide(division, parts(2), options).unwrap();
        let shares = shares(&divided);
        let run = |bytes| DividedRun {
            bytes,
            items: 8,
            rows: 1,
        };
        let hold = |at: usize| {
            let (id, lock) = &shares[at];
            whole.lock().hold_part(*id, lock, options).unwrap()
        };
        let (mut first, mut second) = (hold(0), hold(1));
        let views = |part| MemoryRange::part_bytes_beside(&[run(&written)], &[&read], part);
        let (mine, all) = views(&mut first).unwrap();
        assert_eq!((mine[0].len(), all[0].len()), (32, 64));
        // Another part may read it too, and none may write it, nor read what is written.
        assert!(views(&mut second).is_ok());
        assert!(MemoryRange::part_bytes_mut(&[run(&read)], &mut second).is_err());
        assert!(MemoryRange::part_bytes_beside(&[], &[&written], &mut second).is_err());
        drop((first, second, divided));
        // The next division is another one.
        let divided = whole.lock().divide(division, parts(2), options).unwrap();
        let (id, lock) = &self::shares(&divided)[0];
        let mut part = whole.lock().hold_part(*id, lock, options).unwrap();
        assert!(MemoryRange::part_bytes_mut(&[run(&read)], &mut part).is_ok());
    }

    #[test]
    fn a_division_outlives_the_guard_of_its_own_thread() {
        let whole = OwnedLock::new().unwrap();
        let options = LockOptions::default();
        let division = Division::new([(0, 2)], 1).unwrap();
        let divided = whole.lock().divide(division, parts(2), options).unwrap();
        let shares = shares(&divided);
        let (id, lock) = &shares[0];
        let held = whole.lock().hold_part(*id, lock, options).unwrap();
        drop(divided);
        let soon = options.timeout(std::time::Duration::ZERO);
        let read = || {
            std::thread::scope(|scope| {
                scope
                    .spawn(|| whole.lock().read(soon).map(drop))
                    .join()
                    .unwrap()
            })
        };
        assert!(matches!(read(), Err(LockError::Timeout { .. })));
        drop(held);
        assert_eq!(read(), Ok(()));
    }
}
