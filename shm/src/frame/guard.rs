use bytemuck::Pod;
use numpush_message::{Buffer, ColumnType, Dtype, Element, Frame};
use numpush_shm_core::{LockOptions, Locked, MemoryRange, Poison, ReadHold, WriteHold};

use crate::error::Error;
use crate::frame::column::{Bitmap, BitmapMut, BoolColumnMut, ColumnMut, StringColumn};
use crate::frame::meta::{ColumnMeta, Descriptor};
use crate::object::Object;

/// A frame while its lock is held for reading.
#[derive(Debug)]
pub struct FrameReadGuard<'a> {
    value: &'a Object,
    meta: &'a Descriptor,
    held: ReadHold,
}

/// A frame while its lock is held for writing.
#[derive(Debug)]
pub struct FrameWriteGuard<'a> {
    value: &'a Object,
    meta: &'a Descriptor,
    held: WriteHold,
}

/// Checks that the values of `column` are of `T`.
pub(super) fn check<T: Element>(column: &ColumnMeta) -> Result<(), Error> {
    let format = column.format()?;
    if format.number() == Some(T::SCALAR) && column.data.dictionary.is_none() {
        return Ok(());
    }
    let wanted = Dtype::Scalar(T::SCALAR);
    let fault = format!("is of Arrow type {format}, whose values are not written as {wanted}");
    Err(Error::Column {
        name: column.name.clone(),
        fault,
    })
}

/// Checks that `column` is of truth values.
pub(super) fn check_flags(column: &ColumnMeta) -> Result<(), Error> {
    match column.format()? {
        ColumnType::Bool => Ok(()),
        format => {
            let fault = format!("is of Arrow type {format}, not of truth values");
            Err(Error::Column {
                name: column.name.clone(),
                fault,
            })
        }
    }
}

/// Bytes as elements; those of an arena are aligned for all of them.
pub(super) fn elements_mut<T: Pod>(bytes: &mut [u8]) -> &mut [T] {
    if bytes.is_empty() {
        &mut []
    } else {
        bytemuck::cast_slice_mut(bytes)
    }
}

impl<'a> FrameReadGuard<'a> {
    pub(super) fn new(
        value: &'a Object,
        meta: &'a Descriptor,
        attempt: LockOptions,
    ) -> Result<Self, Error> {
        let held = value.lock().read(attempt)?;
        Ok(Self { value, meta, held })
    }

    fn bytes(&self, span: Option<usize>) -> &[u8] {
        span.map_or(&[], |span| self.value.guarded()[span].bytes(&self.held))
    }

    /// The values of a column of numbers, dates or times; that of a null means nothing.
    ///
    /// # Errors
    /// [`Error::Column`] if there is none of that name, or if its values are not of `T`.
    pub fn values<T: Element + Pod>(&self, name: &str) -> Result<&[T], Error> {
        let column = self.meta.column(name)?;
        check::<T>(column)?;
        let bytes = self.bytes(column.value_spans().0);
        Ok(if bytes.is_empty() {
            &[]
        } else {
            bytemuck::cast_slice(bytes)
        })
    }

    /// Which rows of a column are not null; `None` if all of them are not.
    ///
    /// # Errors
    /// [`Error::Column`] if there is none of that name.
    pub fn validity(&self, name: &str) -> Result<Option<Bitmap<'_>>, Error> {
        let (_, validity) = self.meta.column(name)?.value_spans();
        Ok(validity.map(|span| Bitmap(self.bytes(Some(span)))))
    }

    /// The values of a column of truth values; that of a null means nothing.
    ///
    /// # Errors
    /// [`Error::Column`] if there is none of that name, or if it is of another type.
    pub fn flags(&self, name: &str) -> Result<Bitmap<'_>, Error> {
        let column = self.meta.column(name)?;
        check_flags(column)?;
        Ok(Bitmap(self.bytes(column.value_spans().0)))
    }

    /// A column of text, or of a dictionary of texts.
    ///
    /// # Errors
    /// [`Error::Column`] if there is none of that name, or if it is of another type.
    pub fn texts(&self, name: &str) -> Result<StringColumn<'_>, Error> {
        let column = self.meta.column(name)?;
        StringColumn::new(
            name,
            column
                .data
                .data(name, &mut |span| Buffer::borrowed(self.bytes(Some(span))))?,
        )
    }

    /// The frame as it is now, to send it while it is locked, say. Copies nothing.
    ///
    /// # Errors
    /// None that a frame made here has.
    pub fn frame(&self) -> Result<Frame<'_>, Error> {
        self.meta
            .frame(|span| Buffer::borrowed(self.bytes(Some(span))))
    }
}

impl<'a> FrameWriteGuard<'a> {
    pub(super) fn new(
        value: &'a Object,
        meta: &'a Descriptor,
        attempt: LockOptions,
    ) -> Result<Self, Error> {
        let held = value.lock().write(attempt)?;
        Ok(Self { value, meta, held })
    }

    /// A column of numbers, dates or times, to write.
    ///
    /// # Errors
    /// [`Error::Column`] if there is none of that name, or if its values are not of `T`.
    pub fn column<T: Element + Pod>(&mut self, name: &str) -> Result<ColumnMut<'_, T>, Error> {
        let [column] = self.columns([name])?;
        Ok(column)
    }

    /// A column of truth values, to write.
    ///
    /// # Errors
    /// [`Error::Column`] if there is none of that name, or if it is of another type.
    pub fn flags(&mut self, name: &str) -> Result<BoolColumnMut<'_>, Error> {
        let column = self.meta.column(name)?;
        check_flags(column)?;
        let spans = self.value.guarded();
        let (values, validity) = column.value_spans();
        let wanted: Vec<&MemoryRange<Locked>> = [values, validity]
            .into_iter()
            .flatten()
            .map(|span| &spans[span])
            .collect();
        let mut bytes = MemoryRange::<Locked>::all_bytes_mut(&wanted, &mut self.held).into_iter();
        let values = values.and_then(|_| bytes.next()).unwrap_or_default();
        let validity = validity.and_then(|_| bytes.next()).map(BitmapMut);
        Ok(BoolColumnMut {
            name: &column.name,
            len: self.meta.rows,
            values: BitmapMut(values),
            validity,
        })
    }

    /// Several columns of one type at the same time.
    ///
    /// # Errors
    /// As [`Self::column`].
    ///
    /// # Panics
    /// If a column is named twice.
    pub fn columns<T: Element + Pod, const N: usize>(
        &mut self,
        names: [&str; N],
    ) -> Result<[ColumnMut<'_, T>; N], Error> {
        let mut found = Vec::with_capacity(N);
        for name in names {
            let column = self.meta.column(name)?;
            check::<T>(column)?;
            found.push(column);
        }
        let spans = self.value.guarded();
        let wanted: Vec<&MemoryRange<Locked>> = found
            .iter()
            .flat_map(|column| {
                let (values, validity) = column.value_spans();
                [values, validity]
                    .into_iter()
                    .flatten()
                    .map(|span| &spans[span])
            })
            .collect();
        let mut bytes = MemoryRange::<Locked>::all_bytes_mut(&wanted, &mut self.held).into_iter();
        Ok(std::array::from_fn(|at| {
            let column = found[at];
            let (values, validity) = column.value_spans();
            ColumnMut {
                name: &column.name,
                values: elements_mut(values.and_then(|_| bytes.next()).unwrap_or_default()),
                validity: validity.and_then(|_| bytes.next()),
            }
        }))
    }

    /// What an unfinished write left behind, if the frame was locked nevertheless.
    pub fn poison(&self) -> Option<&Poison> {
        self.held.poison()
    }

    /// Says that the frame is whole again.
    pub fn clear_poison(&mut self) {
        self.held.clear_poison();
    }
}
