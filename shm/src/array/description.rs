//! What the bytes of an array mean: as processes send it to each other, and as each array type reads it.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use bytemuck::Pod;
use ndarray::Dimension;
use numpush_message::{Array, Buffer, Dtype, Element};
use numpush_shm_core::{Double, MemoryRange, part_range};
use serde::{Deserialize, Serialize};

use crate::array::layout::Layout;
use crate::dtype::DtypeText;
use crate::error::Error;
use crate::object::{Describe, Spans};

/// The description of an array as processes send it to each other.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ArrayDescription {
    dtype: DtypeText,
    pub(super) shape: Vec<usize>,
    /// Bytes from element to element along each axis; `None` for C order.
    pub(super) strides: Option<Vec<isize>>,
}

/// An array whose element type and axes are known at run time only.
#[derive(Debug)]
pub(crate) struct DynArray {
    pub(super) sent: ArrayDescription,
    pub(super) dtype: Dtype,
}

/// An array of elements `T` with `D` axes.
pub(crate) struct TypedArray<T, D> {
    pub(super) sent: ArrayDescription,
    pub(super) layout: Layout<D>,
    elements: PhantomData<fn() -> T>,
}

/// An array in two buffers, one read and one written.
pub(crate) struct DoubleBuffered<T, D> {
    pub(super) array: TypedArray<T, D>,
    pub(super) pair: Arc<MemoryRange<Double>>,
}

/// An array with room for more rows than it has: first the elements, then the number of rows.
pub(crate) struct Growable<T, D> {
    /// Of all the rows that there is room for.
    pub(super) array: TypedArray<T, D>,
}

/// An array with room for more rows, whose element type and axes are known at run time only.
#[derive(Debug)]
pub(crate) struct DynGrowable {
    pub(super) capacity: DynArray,
}

const ARRAY: &str = "an array";
const DOUBLE_BUFFERED: &str = "a double-buffered array";

impl ArrayDescription {
    pub(super) fn new(dtype: &Dtype, shape: &[usize], strides: Option<&[isize]>) -> Self {
        Self {
            dtype: dtype.into(),
            shape: shape.into(),
            strides: strides.map(Into::into),
        }
    }

    fn dtype(&self) -> Result<Dtype, Error> {
        self.dtype
            .parse()
            .ok_or_else(|| malformed("an unknown element type"))
    }

    /// The array over `data`.
    pub(super) fn array<'a>(&self, data: Buffer<'a>) -> Result<Array<'a>, Error> {
        let dtype = self.dtype()?;
        Ok(match &self.strides {
            Some(strides) => Array::with_strides(dtype, &self.shape, strides, data)?,
            None => Array::new(dtype, &self.shape, data)?,
        })
    }

    /// Checks that `buffers` buffers of elements of `item` bytes fill `len` bytes without a gap.
    fn check(&self, item: usize, buffers: usize, len: usize) -> Result<(), Error> {
        let product = |lens: &[usize]| {
            let mut lens = lens.iter();
            lens.try_fold(item, |product, &len| product.checked_mul(len))
        };
        let bytes = product(&self.shape).and_then(|bytes| bytes.checked_mul(buffers));
        if bytes != Some(len) || !self.is_dense(item) {
            return Err(malformed("a shape that does not fit its bytes"));
        }
        Ok(())
    }

    /// Checks that runs of bytes under several locks are the rows, in order and dealt as evenly as can be.
    fn check_rows(&self, spans: &Spans) -> Result<(), Error> {
        let runs = spans.locked();
        if runs.len() < 2 {
            return Ok(());
        }
        let rows = self.shape.first().copied().unwrap_or(0);
        if self.strides.is_some() || rows < runs.len() {
            return Err(malformed("row locks of an array without such rows"));
        }
        let row = spans.byte_len() / rows;
        let are_dealt = runs.iter().enumerate().all(|(number, run)| {
            run.range().len() == part_range(rows, runs.len(), number, 1).len() * row
        });
        let are_neighbours = runs.windows(2).all(|pair| {
            let [one, next] = [pair[0].range(), pair[1].range()];
            one.end == next.start && pair[0].pages().id() == pair[1].pages().id()
        });
        if are_dealt && are_neighbours {
            Ok(())
        } else {
            Err(malformed("row locks of bytes that are no rows"))
        }
    }

    /// True if the strides are those of an array without gaps, in whatever order of the axes.
    fn is_dense(&self, item: usize) -> bool {
        let Some(strides) = &self.strides else {
            return true;
        };
        if strides.len() != self.shape.len() {
            return false;
        }
        if self.shape.contains(&0) {
            return true;
        }
        let axes = strides.iter().zip(&self.shape);
        let mut axes: Vec<(usize, usize)> = axes
            .filter(|&(_, &len)| len > 1)
            .map(|(stride, &len)| (stride.unsigned_abs(), len))
            .collect();
        axes.sort_unstable();
        let mut step = item;
        axes.into_iter().all(|(stride, len)| {
            let fits = stride == step;
            step = step.saturating_mul(len);
            fits
        })
    }
}

fn malformed(what: &'static str) -> Error {
    Error::Protocol {
        peer: "the owner".into(),
        what,
    }
}

fn summary(sent: &ArrayDescription) -> String {
    let dtype = sent.dtype.parse().map(|dtype| dtype.to_string());
    format!("array {} {:?}", dtype.as_deref().unwrap_or("?"), sent.shape)
}

impl DynArray {
    pub(super) fn new(sent: ArrayDescription) -> Result<Self, Error> {
        let dtype = sent.dtype()?;
        Ok(Self { sent, dtype })
    }
}

impl Describe for DynArray {
    const KIND: &'static str = ARRAY;
    type Sent = ArrayDescription;

    fn sent(&self) -> &ArrayDescription {
        &self.sent
    }

    fn receive(sent: ArrayDescription, spans: &Spans) -> Result<Self, Error> {
        let buffers = 1 + usize::from(spans.double().is_some());
        let array = Self::new(sent)?;
        let item = array.dtype.size();
        array.sent.check(item, buffers, spans.byte_len())?;
        array.sent.check_rows(spans)?;
        Ok(array)
    }

    fn summary(sent: &ArrayDescription) -> String {
        summary(sent)
    }
}

impl<T: Element, D: Dimension> TypedArray<T, D> {
    /// An array in C order.
    pub(super) fn new(shape: &[usize]) -> Result<Self, Error> {
        let sent = ArrayDescription::new(&Dtype::Scalar(T::SCALAR), shape, None);
        Self::from_sent(sent)
    }

    pub(super) fn from_sent(sent: ArrayDescription) -> Result<Self, Error> {
        let (found, wanted) = (sent.dtype()?, Dtype::Scalar(T::SCALAR));
        if found != wanted {
            return Err(Error::Dtype { found, wanted });
        }
        let layout = Layout::new(&sent.shape, sent.strides.as_deref(), size_of::<T>())?;
        Ok(Self {
            sent,
            layout,
            elements: PhantomData,
        })
    }
}

impl<T: Element + Pod, D: Dimension> Describe for TypedArray<T, D> {
    const KIND: &'static str = ARRAY;
    type Sent = ArrayDescription;

    fn sent(&self) -> &ArrayDescription {
        &self.sent
    }

    fn receive(sent: ArrayDescription, spans: &Spans) -> Result<Self, Error> {
        if spans.double().is_some() {
            return Err(kind(DOUBLE_BUFFERED, ARRAY));
        }
        // Checked before the layout, which trusts the strides.
        let array = DynArray::receive(sent, spans)?;
        let array = Self::from_sent(array.sent)?;
        spans.check_alignment(0, align_of::<T>())?;
        Ok(array)
    }

    fn summary(sent: &ArrayDescription) -> String {
        summary(sent)
    }
}

impl<T: Element + Pod, D: Dimension> Describe for DoubleBuffered<T, D> {
    const KIND: &'static str = ARRAY;
    type Sent = ArrayDescription;

    fn sent(&self) -> &ArrayDescription {
        &self.array.sent
    }

    fn receive(sent: ArrayDescription, spans: &Spans) -> Result<Self, Error> {
        let pair = spans.double().ok_or_else(|| kind(ARRAY, DOUBLE_BUFFERED))?;
        let array = DynArray::receive(sent, spans)?;
        let array = TypedArray::from_sent(array.sent)?;
        spans.check_alignment(0, align_of::<T>())?;
        Ok(Self {
            array,
            pair: Arc::clone(pair),
        })
    }

    fn summary(sent: &ArrayDescription) -> String {
        format!("double-buffered {}", summary(sent))
    }
}

impl<T: Element, D: Dimension> Growable<T, D> {
    pub(super) fn new(capacity: &[usize]) -> Result<Self, Error> {
        if capacity.is_empty() {
            let shape = Vec::new();
            return Err(Error::Axes { shape, wanted: 1 });
        }
        let array = TypedArray::new(capacity)?;
        Ok(Self { array })
    }
}

impl DynGrowable {
    pub(super) fn typed<T: Element, D: Dimension>(&self) -> Result<Growable<T, D>, Error> {
        let array = TypedArray::from_sent(self.capacity.sent.clone())?;
        Ok(Growable { array })
    }
}

impl Describe for DynGrowable {
    const KIND: &'static str = "a growable array";
    type Sent = ArrayDescription;

    fn sent(&self) -> &ArrayDescription {
        &self.capacity.sent
    }

    fn receive(sent: ArrayDescription, spans: &Spans) -> Result<Self, Error> {
        let capacity = DynArray::new(sent)?;
        let (sent, item) = (&capacity.sent, capacity.dtype.size());
        sent.check(item, 1, spans.len_of(0).unwrap_or(0))?;
        let is_plain = sent.strides.is_none() && !sent.shape.is_empty();
        if !is_plain || spans.len_of(1) != Some(size_of::<u64>()) || spans.locks().len() != 1 {
            return Err(malformed("a growable array that does not fit its bytes"));
        }
        Ok(Self { capacity })
    }

    fn summary(sent: &ArrayDescription) -> String {
        format!("growable {}", summary(sent))
    }
}

impl<T: Element + Pod, D: Dimension> Describe for Growable<T, D> {
    const KIND: &'static str = DynGrowable::KIND;
    type Sent = ArrayDescription;

    fn sent(&self) -> &ArrayDescription {
        &self.array.sent
    }

    fn receive(sent: ArrayDescription, spans: &Spans) -> Result<Self, Error> {
        spans.check_alignment(0, align_of::<T>())?;
        DynGrowable::receive(sent, spans)?.typed()
    }

    fn summary(sent: &ArrayDescription) -> String {
        DynGrowable::summary(sent)
    }
}

fn kind(found: &'static str, wanted: &'static str) -> Error {
    Error::Kind {
        found: found.into(),
        wanted: wanted.into(),
    }
}

/// The error for a double-buffered array that is used as a plain one.
pub(super) fn not_plain() -> Error {
    kind(DOUBLE_BUFFERED, ARRAY)
}

impl<T, D: Clone> Clone for TypedArray<T, D> {
    fn clone(&self) -> Self {
        Self {
            sent: self.sent.clone(),
            layout: self.layout.clone(),
            elements: PhantomData,
        }
    }
}

impl<T, D: fmt::Debug> fmt::Debug for TypedArray<T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = std::any::type_name::<T>();
        write!(f, "<{name}>({:?})", self.layout.shape)
    }
}
