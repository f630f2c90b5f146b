//! Double-buffered arrays divided among workers, who write the next commit together.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;

use bytemuck::Pod;
use ndarray::{ArrayView, ArrayViewMut, Axis, Dimension, Slice};
use numpush_message::Element;
use numpush_shm_core::{
    Division, Double, LockError, LockOptions, MemoryRange, StepHold, block_range,
};

use crate::array::DoubleBufferedArray;
use crate::array::blocks::{self, Blocks};
use crate::error::Error;
use crate::object::{Divide, Object, Part, Partition, RawObject, divide};

impl<T: Element + Pod, D: Dimension> DoubleBufferedArray<T, D> {
    /// Divides the array along `axis` into `parts`, whose workers write one commit after another together. An axis of fewer
    /// elements has fewer parts. See [`StepGuard`] for an example.
    ///
    /// Others may read meanwhile, but not commit. The thread that divides may do neither: it finishes the partition first.
    ///
    /// # Errors
    /// As [`SharedArray::partition`](crate::SharedArray::partition).
    pub fn partition(&self, axis: Axis, parts: usize) -> Result<Partition<Self>, Error> {
        let blocks = Blocks::along(self.layout(), size_of::<T>(), axis.0, parts)?;
        divide(self, blocks.division, blocks.bytes)
    }

    /// As [`Self::partition`], into as many blocks along each axis as `blocks` say; an axis of fewer elements has fewer.
    ///
    /// # Errors
    /// As [`SharedArray::partition_blocks`](crate::SharedArray::partition_blocks).
    pub fn partition_blocks(&self, blocks: impl AsRef<[usize]>) -> Result<Partition<Self>, Error> {
        let blocks = Blocks::of(self.layout(), size_of::<T>(), blocks.as_ref())?;
        divide(self, blocks.division, blocks.bytes)
    }
}

impl<T: Element + Pod, D: Dimension> Divide for DoubleBufferedArray<T, D> {
    fn raw(&self) -> &Arc<RawObject> {
        self.object.raw()
    }

    fn divisible(raw: &Arc<RawObject>, division: Division) -> Result<Self, Error> {
        let object = Object::from_raw(Arc::clone(raw))?;
        let array = Self { object };
        blocks::check(division, array.layout())?;
        Ok(array)
    }
}

impl<T: Element + Pod, D: Dimension> Partition<DoubleBufferedArray<T, D>> {
    /// Takes the parts back when no worker has one any more, and returns the number of commits of the array so far.
    ///
    /// # Errors
    /// [`LockError::Unfinished`] names a part whose worker died, panicked or let go of it after it had begun to write, or a
    /// part that has not finished a step which others have. The last commit stays.
    pub fn finish(self) -> Result<u64, LockError> {
        self.end()
    }
}

impl<T: Element + Pod, D: Dimension> Part<DoubleBufferedArray<T, D>> {
    /// The part's range of indices along `axis`.
    ///
    /// # Panics
    /// If the array has no such axis.
    pub fn range(&self, axis: Axis) -> Range<usize> {
        self.block()[axis.0].clone()
    }

    /// The part's range of indices along each axis.
    pub fn block(&self) -> Vec<Range<usize>> {
        blocks::block_of(self.share().id, self.value().layout())
    }

    /// The part's range of indices along each axis, wider by `width` elements on both sides where the array has them: what
    /// [`StepGuard::halo`] lets its worker read.
    pub fn halo(&self, width: usize) -> Vec<Range<usize>> {
        blocks::widened(&self.block(), width, self.value().shape())
    }

    /// Takes the part to write it in the next commit. Waits while this part has finished its step and others have not.
    ///
    /// # Errors
    /// [`LockError::Retired`] if the partition is gone, or the thread that made it; [`LockError::Unfinished`] if a worker
    /// left a part unfinished; [`LockError::Poisoned`] if one died while it had this part.
    pub fn step(&mut self) -> Result<StepGuard<'_, T, D>, LockError> {
        self.step_with(LockOptions::default())
    }

    /// As [`Self::step`], with a timeout, which is also that of each [`StepGuard::next_step`].
    ///
    /// # Errors
    /// As [`Self::step`]; [`LockError::Timeout`].
    pub fn step_with(&mut self, options: LockOptions) -> Result<StepGuard<'_, T, D>, LockError> {
        let step = self.share().lock_step(options)?;
        let array = self.value();
        Ok(StepGuard {
            pair: array.pair(),
            shape: &array.layout().shape,
            step,
            elements: PhantomData,
        })
    }
}

/// A part of the next commit of a [`DoubleBufferedArray`], while a worker writes it.
///
/// The last commit can be read, the part and its neighbours: nobody changes it before all parts are finished. The last part
/// to be finished makes the commit, and the next step begins; nobody else is needed for that. A worker that stays needs no
/// lock for the next step, only a wait for the others. One that has several parts to do in turn finishes each of them:
/// [`Self::next_step`] would wait for those that it has not done yet.
///
/// A step that was begun, by a look at its views, and not finished when the guard is dropped never will be: those who wait
/// for it get [`LockError::Unfinished`], and so does [`Partition::finish`]. The last commit stays.
///
/// ```
/// use ndarray::{Axis, Ix1, array};
/// use numpush_shm::{Arena, DoubleBufferedArray, LockError, Part};
///
/// /// Replaces each element by the mean of its neighbours, but for the first and the last.
/// fn relax(mut part: Part<DoubleBufferedArray<f64, Ix1>>, steps: usize) -> Result<(), LockError> {
///     let (own, seen) = (part.range(Axis(0)), part.halo(1)[0].clone());
///     let mut step = part.step()?;
///     for _ in 0..steps {
///         let (last, mut next) = step.halo(1);
///         for at in own.clone() {
///             let here = at - seen.start;
///             let is_edge = here == 0 || here + 1 == last.len();
///             let mean = || (last[here - 1] + last[here + 1]) / 2.0;
///             next[at - own.start] = if is_edge { last[here] } else { mean() };
///         }
///         step.next_step()?;
///     }
///     Ok(())
/// }
///
/// let rod = DoubleBufferedArray::copy_of(&Arena::shared(), &array![0.0, 0.0, 0.0, 8.0])?;
/// let halves = rod.partition(Axis(0), 2)?;
/// // Threads here; `pool.map(relax, &halves, &2)` does the same in processes.
/// std::thread::scope(|scope| {
///     for part in &halves {
///         scope.spawn(move || relax(part, 2));
///     }
/// });
/// assert_eq!(halves.finish()?, 2);
/// assert_eq!(*rod.read()?, array![0.0, 2.0, 4.0, 8.0]);
/// # Ok::<(), numpush_shm::Error>(())
/// ```
#[must_use = "dropped at once, it lets go of the part at once"]
pub struct StepGuard<'a, T, D> {
    pair: &'a MemoryRange<Double>,
    shape: &'a D,
    step: StepHold,
    elements: PhantomData<T>,
}

impl<T: Element + Pod, D: Dimension> StepGuard<'_, T, D> {
    /// Number of the last commit, which the step reads.
    pub fn commits(&self) -> u64 {
        self.step.commits()
    }

    /// The last commit, all of it, and the part of the next one, which has the elements of an earlier commit and should be
    /// written whole.
    ///
    /// # Panics
    /// If [`Self::next_step`] has failed.
    pub fn views(&mut self) -> (ArrayView<'_, T, D>, ArrayViewMut<'_, T, D>) {
        let views = self.pair.step_views(&mut self.step, self.shape);
        views.unwrap_or_else(|_| unreachable!("an array has one shape in all its descriptions"))
    }

    /// The part of the last commit, wider by `width` elements on both sides along each axis where the array has them, and the
    /// part of the next one as of [`Self::views`]. [`Part::halo`] says which elements are seen.
    ///
    /// # Panics
    /// As [`Self::views`].
    pub fn halo(&mut self, width: usize) -> (ArrayView<'_, T, D>, ArrayViewMut<'_, T, D>) {
        let (id, shape) = (self.step.id(), self.shape);
        let (mut last, next) = self.views();
        for (axis, &len) in shape.slice().iter().enumerate() {
            let own = block_range(id.division, id.number, axis, len);
            let seen = blocks::wider(&own, width, len);
            last.slice_axis_inplace(Axis(axis), Slice::from(seen));
        }
        (last, next)
    }

    /// Says that the part is written, and lets go of it. The last part to be finished makes the commit.
    ///
    /// # Errors
    /// [`LockError::Unfinished`] if a worker left another part unfinished.
    pub fn finish(self) -> Result<(), LockError> {
        self.step.finish()
    }

    /// Says that the part is written, waits until all others are, which makes the commit, and returns its number. The guard is
    /// for the next step then.
    ///
    /// # Errors
    /// As [`Self::finish`]; [`LockError::Retired`] if the partition is gone meanwhile, or the thread that made it;
    /// [`LockError::Timeout`], after which another call waits on.
    pub fn next_step(&mut self) -> Result<u64, LockError> {
        self.step.next_step()
    }
}

impl<T, D: fmt::Debug> fmt::Debug for StepGuard<'_, T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StepGuard")
            .field("shape", self.shape)
            .field("commits", &self.step.commits())
            .finish_non_exhaustive()
    }
}
