//! The columns of a frame that was received: its schema and its payload, and columns when somebody looks at them.

use std::sync::{Arc, OnceLock};

use crate::model::buffer::Buffer;
use crate::model::column::{Column, ColumnData, Dictionary};
use crate::model::column_error::ColumnError;
use crate::model::few::Few;
use crate::model::frame_error::FrameError;
use crate::model::schema::{Schema, SchemaField, SchemaValues};
use crate::model::validate::Level;

/// A frame as it came. A frame of a thousand columns is a few allocations, not a few thousand.
#[derive(Debug)]
pub(crate) struct Packed {
    rows: usize,
    schema: Arc<Schema>,
    /// The counts that the text of the schema leaves out; none if all are zero.
    counts: Vec<usize>,
    values: Values,
    columns: OnceLock<Vec<Column<'static>>>,
}

/// The buffers of all columns.
#[derive(Debug)]
pub(crate) enum Values {
    /// They lie one after another from byte `first` of `payload` on, each followed by zeros to a multiple of `align`,
    /// a power of two.
    Cut {
        payload: Buffer<'static>,
        first: usize,
        align: usize,
        lens: Few<u64>,
    },
    /// They lie anywhere.
    Each(Vec<Buffer<'static>>),
}

impl Values {
    /// The first buffer, of a message that has no columns.
    pub(crate) fn into_first(self) -> Buffer<'static> {
        match self {
            Self::Cut {
                payload,
                first,
                align,
                lens,
            } => ranges(&lens, first, align)
                .next()
                .filter(|&(_, end)| end <= payload.len())
                .map_or_else(Buffer::default, |(start, end)| {
                    payload.into_slice(start..end)
                }),
            Self::Each(buffers) => buffers.into_iter().next().unwrap_or_default(),
        }
    }
}

impl Packed {
    /// Checks lengths and contents of `values`, which may come from anybody.
    pub(crate) fn new(
        rows: usize,
        schema: Arc<Schema>,
        counts: Vec<usize>,
        values: Values,
    ) -> Result<Self, FrameError> {
        let packed = Self {
            rows,
            schema,
            counts,
            values,
            columns: OnceLock::new(),
        };
        packed.validate()?;
        Ok(packed)
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn schema(&self) -> &Schema {
        &self.schema
    }

    /// The counts that the text of the schema leaves out, in its order; none if all are zero.
    pub(crate) fn counts(&self) -> &[usize] {
        &self.counts
    }

    /// Bytes of each buffer.
    pub(crate) fn lens(&self) -> impl Iterator<Item = u64> + Clone {
        let (lens, buffers) = match &self.values {
            Values::Cut { lens, .. } => (&lens[..], &[][..]),
            Values::Each(buffers) => (&[][..], &buffers[..]),
        };
        let buffers = buffers.iter().map(|buffer| buffer.len() as u64);
        lens.iter().copied().chain(buffers)
    }

    /// The columns, which the first call makes.
    pub(crate) fn columns(&self) -> &[Column<'static>] {
        self.columns.get_or_init(|| self.make_columns())
    }

    /// The columns, and the payload is let go of but for their buffers.
    pub(crate) fn into_columns(mut self) -> Vec<Column<'static>> {
        let made = self.columns.take();
        made.unwrap_or_else(|| self.make_columns())
    }

    pub(crate) fn validate(&self) -> Result<(), FrameError> {
        match &self.values {
            Values::Cut {
                payload,
                first,
                align,
                lens,
            } => {
                let bytes: &[u8] = payload;
                let ranges = ranges(lens, *first, *align);
                self.check(ranges.map(|(start, end)| bytes.get(start..end).unwrap_or(&[])))
            }
            Values::Each(buffers) => self.check(buffers.iter().map(|buffer| &buffer[..])),
        }
    }

    fn check<'p>(&self, mut buffers: impl Iterator<Item = &'p [u8]>) -> Result<(), FrameError> {
        let mut counts = self.each_count();
        for field in &self.schema.fields {
            self.check_field(field, &mut counts, &mut buffers)
                .map_err(|fault| FrameError::Column {
                    column: self.schema.name(field).to_owned(),
                    fault,
                })?;
        }
        Ok(())
    }

    fn check_field<'p>(
        &self,
        field: &SchemaField,
        counts: &mut impl Iterator<Item = usize>,
        buffers: &mut impl Iterator<Item = &'p [u8]>,
    ) -> Result<(), ColumnError> {
        let (mut next, mut len) = (Some(&field.values), self.rows);
        while let Some(values) = next {
            let null_count = counts.next().unwrap_or(0);
            let inner = values.dictionary.as_ref();
            let entries = inner.map(|_| counts.next().unwrap_or(0));
            let mut level = Level::new(&values.column_type, len, null_count, entries);
            for buffer in level.buffers_mut() {
                *buffer = buffers.next().unwrap_or(&[]);
            }
            level.check_lengths()?;
            if level.has_contents() {
                level.check_contents()?;
            }
            next = inner.map(|dictionary| &dictionary.values);
            len = entries.unwrap_or(0);
        }
        Ok(())
    }

    /// The counts, or none if all are zero.
    fn each_count(&self) -> impl Iterator<Item = usize> {
        // Who finds none takes a zero.
        self.counts.iter().copied()
    }

    fn make_columns(&self) -> Vec<Column<'static>> {
        match &self.values {
            Values::Cut {
                payload,
                first,
                align,
                lens,
            } => {
                let ranges = ranges(lens, *first, *align);
                // Empty ones too have the owner of the payload.
                self.make(ranges.map(|(start, end)| {
                    let end = end.min(payload.len());
                    payload.slice(start.min(end)..end)
                }))
            }
            Values::Each(buffers) => self.make(buffers.iter().cloned()),
        }
    }

    fn make(&self, mut buffers: impl Iterator<Item = Buffer<'static>>) -> Vec<Column<'static>> {
        let mut counts = self.each_count();
        let column = |field: &SchemaField| {
            let data = data(&field.values, self.rows, &mut counts, &mut buffers);
            let name = self.schema.name(field).to_owned();
            Column::from_checked(name, field.nullable, field.metadata.clone(), data)
        };
        self.schema.fields.iter().map(column).collect()
    }
}

/// Where each buffer begins and ends; `align` is a power of two, which spares a division for each.
fn ranges(lens: &[u64], first: usize, align: usize) -> impl Iterator<Item = (usize, usize)> {
    let mut at = first;
    lens.iter().map(move |&len| {
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let (start, end) = (at, at.saturating_add(len));
        at = end.saturating_add(len.wrapping_neg() & (align - 1));
        (start, end)
    })
}

/// Values that were checked.
fn data(
    values: &SchemaValues,
    len: usize,
    counts: &mut impl Iterator<Item = usize>,
    buffers: &mut dyn Iterator<Item = Buffer<'static>>,
) -> ColumnData<'static> {
    let null_count = counts.next().unwrap_or(0);
    let inner = values.dictionary.as_ref();
    let entries = inner.map_or(0, |_| counts.next().unwrap_or(0));
    let own = values.column_type.storage().buffers();
    let own = (0..own).map(|_| buffers.next().unwrap_or_default());
    let own = own.collect();
    let dictionary = inner.map(|inner| {
        let values = data(&inner.values, entries, counts, buffers);
        Box::new(Dictionary::new(values).with_ordered(inner.ordered))
    });
    ColumnData::from_checked(values.column_type.clone(), len, null_count, own, dictionary)
}
