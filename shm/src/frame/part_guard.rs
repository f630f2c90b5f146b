use std::ops::Range;

use bytemuck::Pod;
use numpush_message::{Buffer, Element};
use numpush_shm_core::{DividedRun, Locked, MemoryRange, PartHold, block_range};

use crate::elements::elements_mut;
use crate::error::Error;
use crate::frame::SharedFrame;
use crate::frame::bitmap::BitmapMut;
use crate::frame::column::{BoolColumnMut, ColumnMut, StringColumn};
use crate::frame::description::{ColumnDescription, FrameDescription};
use crate::object::Spans;

/// A part of a frame while the part's lock is held. Row 0 of its columns is the part's first row.
#[derive(Debug)]
#[must_use = "dropped at once, it unlocks at once"]
pub struct FramePartGuard<'a> {
    spans: &'a Spans,
    description: &'a FrameDescription,
    part: PartHold,
}

/// The bytes of a column's values, and those of its bitmap if it has one.
type ValuesAndValidity<'a> = (&'a mut [u8], Option<&'a mut [u8]>);

impl<'a> FramePartGuard<'a> {
    pub(super) fn new(frame: &'a SharedFrame, part: PartHold) -> Self {
        Self {
            spans: frame.object.spans(),
            description: frame.description(),
            part,
        }
    }

    /// The rows of the part.
    pub fn range(&self) -> Range<usize> {
        let id = self.part.id();
        block_range(id.division, id.number, 0, self.description.rows)
    }

    /// The part's rows of a column of numbers, dates or times, to write.
    ///
    /// # Errors
    /// [`Error::Column`] if there is none of that name, or if its values are not of `T`.
    pub fn column<T: Element + Pod>(&mut self, name: &str) -> Result<ColumnMut<'_, T>, Error> {
        let [column] = self.columns([name])?;
        Ok(column)
    }

    /// The part's rows of several columns of one type, to write at the same time.
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
        let found = self.find::<T, N>(names)?;
        let (bytes, _) = self.bytes(&found, false, &[])?;
        Ok(columns_of(found, bytes))
    }

    /// The part's rows of a column of booleans, to write.
    ///
    /// # Errors
    /// [`Error::Column`] if there is none of that name, or if it is of another type.
    pub fn bools(&mut self, name: &str) -> Result<BoolColumnMut<'_>, Error> {
        let column = self.description.column(name)?;
        column.check_bool()?;
        let len = self.range().len();
        let (values, validity) = self
            .bytes(&[column], true, &[])?
            .0
            .pop()
            .unwrap_or_default();
        Ok(BoolColumnMut {
            name: &column.name,
            len,
            values: BitmapMut(values),
            validity: validity.map(BitmapMut),
        })
    }

    /// A column of strings, or of a dictionary of strings, to read: all of it, by the rows of the whole frame, of which the
    /// part has [`Self::range`]. And the part's rows of several columns of one type, to write beside it.
    ///
    /// # Errors
    /// As [`Self::column`]; [`Error::Column`] also if `text` is of another type than strings.
    ///
    /// # Panics
    /// If a column to write is named twice.
    pub fn strings_and_columns<T: Element + Pod, const N: usize>(
        &mut self,
        text: &str,
        names: [&str; N],
    ) -> Result<(StringColumn<'_>, [ColumnMut<'_, T>; N]), Error> {
        let strings = self.description.column(text)?;
        strings.check_text()?;
        let found = self.find::<T, N>(names)?;
        let read: Vec<usize> = strings.data.all_spans();
        let (bytes, all) = self.bytes(&found, false, &read)?;
        let of = |span| read.iter().position(|&other| other == span);
        let buffer = &mut |span| Buffer::borrowed(of(span).map_or(&[][..], |at| all[at]));
        let strings = StringColumn::new(text, strings.data.data(text, buffer)?)?;
        Ok((strings, columns_of(found, bytes)))
    }

    fn find<T: Element, const N: usize>(
        &self,
        names: [&str; N],
    ) -> Result<[&'a ColumnDescription; N], Error> {
        let mut found = Vec::with_capacity(N);
        for name in names {
            let column = self.description.column(name)?;
            column.check::<T>()?;
            found.push(column);
        }
        Ok(std::array::from_fn(|at| found[at]))
    }

    /// The part's bytes of the values of each column, which are bits or whole bytes, and of the validity; and all bytes of
    /// the spans that are read.
    fn bytes(
        &mut self,
        columns: &[&ColumnDescription],
        bits: bool,
        read: &[usize],
    ) -> Result<(Vec<ValuesAndValidity<'_>>, Vec<&[u8]>), Error> {
        let spans = self.spans.locked();
        let bitmap = |span: usize| DividedRun {
            bytes: &spans[span],
            items: spans[span].range().len(),
            rows: 8,
        };
        let numbers = |span: usize| DividedRun {
            bytes: &spans[span],
            items: self.description.rows,
            rows: 1,
        };
        let mut wanted = Vec::with_capacity(2 * columns.len());
        for column in columns {
            let (values, validity) = column.value_spans();
            wanted.extend(values.map(|span| if bits { bitmap(span) } else { numbers(span) }));
            wanted.extend(validity.map(bitmap));
        }
        let read: Vec<_> = read.iter().map(|&span| &spans[span]).collect();
        let views = MemoryRange::<Locked>::part_bytes_beside(&wanted, &read, &mut self.part);
        let (parts, read) = views.map_err(|_| Error::InUse {
            what: "this process knows the part divided in another way",
        })?;
        let mut parts = parts.into_iter();
        let take = |column: &&ColumnDescription| {
            let (values, validity) = column.value_spans();
            let values = values.and_then(|_| parts.next()).unwrap_or_default();
            (values, validity.and_then(|_| parts.next()))
        };
        Ok((columns.iter().map(take).collect(), read))
    }
}

fn columns_of<'b, T: Element + Pod, const N: usize>(
    found: [&'b ColumnDescription; N],
    bytes: Vec<ValuesAndValidity<'b>>,
) -> [ColumnMut<'b, T>; N] {
    let mut bytes = bytes.into_iter();
    found.map(|column| {
        let (values, validity) = bytes.next().unwrap_or_default();
        ColumnMut {
            name: &column.name,
            values: elements_mut(values),
            validity,
        }
    })
}
