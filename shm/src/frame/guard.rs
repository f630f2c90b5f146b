use bytemuck::Pod;
use numpush_message::{Buffer, Element, Frame};
use numpush_shm_core::{LockError, LockOptions, Locked, MemoryRange, Poison, ReadHold, WriteHold};

use crate::elements::{elements, elements_mut};
use crate::error::Error;
use crate::frame::bitmap::{Bitmap, BitmapMut};
use crate::frame::column::{BoolColumnMut, ColumnMut, StringColumn};
use crate::frame::description::{ColumnDescription, FrameDescription};
use crate::object::{Object, Spans};

/// A frame while its lock is held for reading.
#[derive(Debug)]
#[must_use = "dropped at once, it unlocks at once"]
pub struct FrameReadGuard<'a> {
    spans: &'a Spans,
    description: &'a FrameDescription,
    held: ReadHold,
}

/// A frame while its lock is held for writing.
#[derive(Debug)]
#[must_use = "dropped at once, it unlocks at once"]
pub struct FrameWriteGuard<'a> {
    spans: &'a Spans,
    description: &'a FrameDescription,
    held: WriteHold,
}

/// The bytes of a buffer of a column, which may have none.
type Run<'a> = Option<&'a mut [u8]>;

impl<'a> FrameReadGuard<'a> {
    pub(super) fn new(
        object: &'a Object<FrameDescription>,
        options: LockOptions,
    ) -> Result<Self, LockError> {
        let spans = object.spans();
        let held = spans.read(options)?;
        Ok(Self {
            spans,
            description: object.description(),
            held,
        })
    }

    /// What an unfinished write left, if the lock was taken nevertheless.
    pub fn poison(&self) -> Option<Poison> {
        self.held.poison()
    }

    pub(super) fn bytes(&self, span: Option<usize>) -> &[u8] {
        span.map_or(&[], |span| self.spans.locked()[span].bytes(&self.held))
    }

    fn bitmap(&self, span: Option<usize>) -> Bitmap<'_> {
        Bitmap::new(self.bytes(span), self.description.rows)
    }

    /// The values of a column of numbers, dates or times; that of a null means nothing.
    ///
    /// # Errors
    /// [`Error::Column`] if there is none of that name, or if its values are not of `T`.
    pub fn values<T: Element + Pod>(&self, name: &str) -> Result<&[T], Error> {
        let column = self.description.column(name)?;
        column.check::<T>()?;
        Ok(elements(self.bytes(column.value_spans().0)))
    }

    /// Which rows of a column are not null; `None` if all of them are not.
    ///
    /// # Errors
    /// [`Error::Column`] if there is none of that name.
    pub fn validity(&self, name: &str) -> Result<Option<Bitmap<'_>>, Error> {
        let (_, validity) = self.description.column(name)?.value_spans();
        Ok(validity.map(|span| self.bitmap(Some(span))))
    }

    /// The values of a column of booleans; that of a null means nothing.
    ///
    /// # Errors
    /// [`Error::Column`] if there is none of that name, or if it is of another type.
    pub fn bools(&self, name: &str) -> Result<Bitmap<'_>, Error> {
        let column = self.description.column(name)?;
        column.check_bool()?;
        Ok(self.bitmap(column.value_spans().0))
    }

    /// A column of strings, or of a dictionary of strings.
    ///
    /// # Errors
    /// [`Error::Column`] if there is none of that name, or if it is of another type.
    pub fn strings(&self, name: &str) -> Result<StringColumn<'_>, Error> {
        let column = self.description.column(name)?;
        StringColumn::new(
            name,
            column
                .data
                .data(name, &mut |span| Buffer::borrowed(self.bytes(Some(span))))?,
        )
    }

    /// The frame as it is now, for example to send it while it is locked. Copies nothing.
    ///
    /// # Errors
    /// [`Error::Protocol`] if the owner is of another version and has a column type that this program does not know.
    pub fn frame(&self) -> Result<Frame<'_>, Error> {
        self.description
            .frame(|span| Buffer::borrowed(self.bytes(Some(span))))
    }
}

impl<'a> FrameWriteGuard<'a> {
    pub(super) fn new(
        object: &'a Object<FrameDescription>,
        options: LockOptions,
    ) -> Result<Self, LockError> {
        let spans = object.spans();
        let held = spans.write(options)?;
        Ok(Self {
            spans,
            description: object.description(),
            held,
        })
    }

    /// A column of numbers, dates or times, to write.
    ///
    /// # Errors
    /// [`Error::Column`] if there is none of that name, or if its values are not of `T`.
    pub fn column<T: Element + Pod>(&mut self, name: &str) -> Result<ColumnMut<'_, T>, Error> {
        let [column] = self.columns([name])?;
        Ok(column)
    }

    /// A column of booleans, to write.
    ///
    /// # Errors
    /// [`Error::Column`] if there is none of that name, or if it is of another type.
    pub fn bools(&mut self, name: &str) -> Result<BoolColumnMut<'_>, Error> {
        let column = self.description.column(name)?;
        column.check_bool()?;
        let (name, len) = (&column.name, self.description.rows);
        let [(values, validity)] = self.bytes([Some(column)]);
        Ok(BoolColumnMut {
            name,
            len,
            values: BitmapMut(values.unwrap_or_default()),
            validity: validity.map(BitmapMut),
        })
    }

    /// Several columns of one type, to write at the same time.
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
        let mut found = [None; N];
        for (found, name) in found.iter_mut().zip(names) {
            let column = self.description.column(name)?;
            column.check::<T>()?;
            *found = Some(column);
        }
        let mut bytes = self.bytes(found).into_iter();
        Ok(found.map(|column| {
            let (values, validity) = bytes.next().unwrap_or_default();
            ColumnMut {
                name: column.map_or("", |column| &column.name),
                values: elements_mut(values.unwrap_or_default()),
                validity,
            }
        }))
    }

    /// The values and the validity of each column, as bytes.
    fn bytes<const N: usize>(
        &mut self,
        columns: [Option<&ColumnDescription>; N],
    ) -> [(Run<'_>, Run<'_>); N] {
        let spans = self.spans.locked();
        let wanted = columns.map(|column| {
            let (values, validity) = column.map_or((None, None), ColumnDescription::value_spans);
            [values, validity].map(|span| span.map(|span| &spans[span]))
        });
        let bytes = MemoryRange::<Locked>::pairs_mut(wanted, &mut self.held);
        bytes.map(|[values, validity]| (values, validity))
    }

    /// What an unfinished write left, if the lock was taken nevertheless.
    pub fn poison(&self) -> Option<&Poison> {
        self.held.poison()
    }

    /// Declares that the frame is whole again. Without it the frame stays poisoned.
    pub fn clear_poison(&mut self) {
        self.held.clear_poison();
    }
}
