//! Where the elements of a slice lie in the memory of its array.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use ndarray::{ArrayView, ArrayViewMut, Dimension, ShapeBuilder, SliceInfoElem};
use numpush_message::Element;
use serde::{Deserialize, Serialize};

use crate::array::layout::{byte_len, dimension, fail};
use crate::error::Error;
use crate::object::Handle;

/// The first element, and along each axis the number of elements and how many lie from one to the next. Counted in elements
/// from the start of the array's memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    first: usize,
    shape: Vec<usize>,
    steps: Vec<usize>,
}

/// Text by which another process opens a [`SharedSlice`](crate::SharedSlice): the handle of the array, and where the slice
/// lies in it. Keeps nothing alive, as a [`Handle`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SliceHandle {
    pub(super) array: Handle,
    pub(super) place: Place,
}

impl Place {
    pub(super) fn new(first: usize, shape: Vec<usize>, steps: Vec<usize>) -> Self {
        Self {
            first,
            shape,
            steps,
        }
    }

    /// The slice of this one that `info` asks for.
    pub(super) fn slice(&self, info: &[SliceInfoElem]) -> Result<Self, Error> {
        let is_axis = |elem: &&SliceInfoElem| !matches!(elem, SliceInfoElem::NewAxis);
        let wanted = info.iter().filter(is_axis).count();
        if wanted != self.shape.len() {
            let shape = self.shape.clone();
            return Err(Error::Axes { shape, wanted });
        }
        let mut cut = Self::new(self.first, Vec::new(), Vec::new());
        let mut axes = self.shape.iter().copied().zip(self.steps.iter().copied());
        for elem in info {
            if matches!(elem, SliceInfoElem::NewAxis) {
                cut.push(1, 1);
                continue;
            }
            let Some((len, step)) = axes.next() else {
                break;
            };
            match *elem {
                SliceInfoElem::Index(index) => {
                    let at = position(index, len).filter(|&at| at < len);
                    cut.first += at.ok_or_else(|| outside(index, index, len))? * step;
                }
                SliceInfoElem::Slice {
                    start,
                    end,
                    step: every,
                } => {
                    let last = end.unwrap_or_else(|| len.cast_signed());
                    let bad = || outside(start, last, len);
                    let from = position(start, len).ok_or_else(bad)?;
                    let to = position(last, len).ok_or_else(bad)?.max(from);
                    let every = usize::try_from(every).ok().filter(|&every| every > 0);
                    let every = every.ok_or_else(bad)?;
                    let count = (to - from).div_ceil(every);
                    cut.first += if count > 0 { from * step } else { 0 };
                    cut.push(count, step.saturating_mul(every));
                }
                _ => return Err(Error::Order),
            }
        }
        Ok(cut)
    }

    fn push(&mut self, len: usize, step: usize) {
        self.shape.push(len);
        self.steps.push(step);
    }

    fn is_empty(&self) -> bool {
        self.shape.contains(&0)
    }

    /// The element after the last, if there are so many numbers.
    fn end(&self) -> Option<usize> {
        if self.is_empty() {
            return Some(self.first);
        }
        let axes = self.shape.iter().zip(&self.steps);
        let mut reaches = axes.map(|(len, step)| step.checked_mul(len - 1));
        let last = reaches.try_fold(self.first, |sum, reach| sum.checked_add(reach?));
        last?.checked_add(1)
    }

    /// Checks that the slice lies in an array of `len` bytes, and has each element once: another process may have sent it.
    pub(super) fn check<T: Element>(&self, len: usize) -> Result<(), Error> {
        let elements = len / size_of::<T>();
        byte_len::<T>(&self.shape)?;
        let end = self.end().filter(|&end| end <= elements);
        if end.is_none() || self.shape.len() != self.steps.len() || !self.has_each_once() {
            return Err(Error::Range {
                what: "elements of a slice",
                range: self.first..self.end().unwrap_or(usize::MAX),
                len: elements,
            });
        }
        Ok(())
    }

    /// True if each step goes beyond all that the smaller steps reach.
    fn has_each_once(&self) -> bool {
        let axes = self.shape.iter().zip(&self.steps);
        let mut axes: Vec<(usize, usize)> = axes
            .filter(|&(&len, _)| len > 1)
            .map(|(&len, &step)| (step, len))
            .collect();
        axes.sort_unstable();
        let mut reach = 0_usize;
        self.is_empty()
            || axes.into_iter().all(|(step, len)| {
                let goes_beyond = step > reach;
                reach = reach.saturating_add(step.saturating_mul(len - 1));
                goes_beyond
            })
    }

    /// The bytes from the first element to the last, of elements of `item` bytes.
    pub(super) fn bytes(&self, item: usize) -> Range<usize> {
        let end = self.end().unwrap_or(self.first);
        self.first * item..end * item
    }

    /// Shape and steps for `ndarray`.
    pub(super) fn dimensions<D: Dimension>(&self) -> Result<(D, D), Error> {
        if let Some(wanted) = D::NDIM.filter(|&wanted| wanted != self.shape.len()) {
            let shape = self.shape.clone();
            return Err(Error::Axes { shape, wanted });
        }
        Ok((dimension(&self.shape), dimension(&self.steps)))
    }

    /// The slice of `elements`, the first of which is number `before` of the array.
    pub(super) fn view<'x, T, D: Dimension>(
        &self,
        elements: &'x [T],
        before: usize,
        shape: &D,
        steps: &D,
    ) -> ArrayView<'x, T, D> {
        let view = if self.is_empty() {
            ArrayView::from_shape(shape.clone(), &[])
        } else {
            let elements = &elements[self.first - before..];
            ArrayView::from_shape(shape.clone().strides(steps.clone()), elements)
        };
        view.unwrap_or_else(|error| fail(&error))
    }

    /// As [`Self::view`], to write.
    pub(super) fn view_mut<'x, T, D: Dimension>(
        &self,
        elements: &'x mut [T],
        before: usize,
        shape: &D,
        steps: &D,
    ) -> ArrayViewMut<'x, T, D> {
        let view = if self.is_empty() {
            ArrayViewMut::from_shape(shape.clone(), &mut [])
        } else {
            let elements = &mut elements[self.first - before..];
            ArrayViewMut::from_shape(shape.clone().strides(steps.clone()), elements)
        };
        view.unwrap_or_else(|error| fail(&error))
    }
}

/// An index from the start, or a negative one from the end, if it is at most `len`.
fn position(index: isize, len: usize) -> Option<usize> {
    let at = match usize::try_from(index) {
        Ok(at) => at,
        Err(_) => len.checked_sub(index.unsigned_abs())?,
    };
    (at <= len).then_some(at)
}

fn outside(start: isize, end: isize, len: usize) -> Error {
    let clip = |index| position(index, len).unwrap_or(usize::MAX);
    Error::Range {
        what: "indices, or a step that is not positive,",
        range: clip(start)..clip(end),
        len,
    }
}

impl fmt::Display for SliceHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place {
            first,
            shape,
            steps,
        } = &self.place;
        let text = |numbers: &[usize]| {
            let numbers: Vec<String> = numbers.iter().map(ToString::to_string).collect();
            numbers.join("x")
        };
        let (shape, steps) = (text(shape), text(steps));
        write!(f, "{}@{first}:{shape}:{steps}", self.array)
    }
}

impl FromStr for SliceHandle {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let numbers = |text: &str| -> Option<Vec<usize>> {
            let words = text.split('x').filter(|word| !word.is_empty());
            words.map(|word| word.parse().ok()).collect()
        };
        let place = |text: &str| {
            let (first, rest) = text.split_once(':')?;
            let (shape, steps) = rest.split_once(':')?;
            let place = Place::new(first.parse().ok()?, numbers(shape)?, numbers(steps)?);
            (place.shape.len() == place.steps.len()).then_some(place)
        };
        let malformed = || Error::Handle { text: text.into() };
        let (array, rest) = text.split_once('@').ok_or_else(malformed)?;
        Ok(Self {
            array: array.parse()?,
            place: place(rest).ok_or_else(malformed)?,
        })
    }
}
