use std::sync::Arc;

use bytemuck::Pod;
use ndarray::Dimension;
use numpush_message::{Dtype, Element};
use serde::{Deserialize, Serialize};

use crate::array::description::DynGrowable;
use crate::array::growable::GrowableArray;
use crate::error::Error;
use crate::object::{Describe, Handle, Object, RawObject};

/// A [`GrowableArray`] whose element type and axes are known at run time only.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GrowableDynArray {
    object: Object<DynGrowable>,
}

impl GrowableDynArray {
    pub(crate) const KIND: &str = DynGrowable::KIND;

    pub(crate) fn from_raw(raw: Arc<RawObject>) -> Result<Self, Error> {
        Object::from_raw(raw).map(|object| Self { object })
    }

    /// Opens the array of a handle.
    ///
    /// # Errors
    /// As [`GrowableArray::open`], for every element type and number of axes.
    pub fn open(handle: &Handle) -> Result<Self, Error> {
        Object::open(handle).map(|object| Self { object })
    }

    /// The handle by which another process opens the array.
    ///
    /// # Errors
    /// As [`SharedArray::handle`](crate::SharedArray::handle).
    pub fn handle(&self) -> Result<Handle, Error> {
        self.object.handle()
    }

    /// The element type.
    pub fn dtype(&self) -> &Dtype {
        &self.object.description().capacity.dtype
    }

    /// Most rows, and the elements of each along the other axes.
    pub fn capacity(&self) -> &[usize] {
        &self.object.description().capacity.sent.shape
    }

    /// The array with its element type and axes.
    ///
    /// # Errors
    /// [`Error::Dtype`], [`Error::Axes`] and [`Error::Misaligned`] if it has others.
    pub fn typed<T: Element + Pod, D: Dimension>(self) -> Result<GrowableArray<T, D>, Error> {
        let array = self.object.description().typed()?;
        self.object.spans().check_alignment(0, align_of::<T>())?;
        Ok(GrowableArray {
            object: self.object.described(|_| array),
        })
    }
}
