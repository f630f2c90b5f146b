use std::collections::BTreeMap;

use numpush_message::{Buffer, Column, ColumnData, ColumnType, Dictionary, Frame, FrameError};
use serde::{Deserialize, Serialize};

use crate::error::Error;

/// What a process that opens a frame is told of it. Buffers are numbers of spans.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Descriptor {
    pub(crate) rows: usize,
    pub(crate) columns: Vec<ColumnMeta>,
    metadata: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ColumnMeta {
    pub(crate) name: String,
    nullable: bool,
    metadata: BTreeMap<String, String>,
    pub(crate) data: DataMeta,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DataMeta {
    format: String,
    pub(crate) len: usize,
    /// The span of each buffer; `None` for an empty one.
    pub(crate) spans: Vec<Option<usize>>,
    pub(crate) dictionary: Option<Box<DictionaryMeta>>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DictionaryMeta {
    ordered: bool,
    pub(crate) values: DataMeta,
}

impl Descriptor {
    /// Describes `frame`, and gives each buffer that is not empty to `place`, which says in which span it is.
    pub(super) fn new<'f>(
        frame: &'f Frame<'f>,
        mut place: impl FnMut(&'f Buffer<'f>) -> usize,
    ) -> Self {
        let columns = frame
            .columns()
            .iter()
            .map(|column| ColumnMeta::new(column, &mut place))
            .collect();
        Self {
            rows: frame.rows(),
            columns,
            metadata: frame.metadata().clone(),
        }
    }

    pub(super) fn column(&self, name: &str) -> Result<&ColumnMeta, Error> {
        let found = self.columns.iter().find(|column| column.name == name);
        found.ok_or_else(|| Error::Column {
            name: name.into(),
            fault: "is not in the frame".into(),
        })
    }

    /// The frame over the buffers that `buffer` gives for spans.
    pub(super) fn frame<'a>(
        &self,
        mut buffer: impl FnMut(usize) -> Buffer<'a>,
    ) -> Result<Frame<'a>, Error> {
        let mut columns = Vec::with_capacity(self.columns.len());
        for column in &self.columns {
            let data = column.data.data(&column.name, &mut buffer)?;
            let built = Column::new(&column.name, data)
                .and_then(|built| built.with_metadata(column.metadata.clone()))
                .map_err(FrameError::from)?;
            columns.push(built.with_nullable(column.nullable));
        }
        let frame = Frame::with_rows(self.rows, columns)?;
        Ok(frame
            .with_metadata(self.metadata.clone())
            .map_err(FrameError::from)?)
    }

    /// Every span that the columns use, renumbered from zero in order; gives the old number of each.
    pub(super) fn renumber(&mut self) -> Vec<usize> {
        let mut old = Vec::new();
        for column in &mut self.columns {
            column.data.renumber(&mut old);
        }
        old
    }
}

impl ColumnMeta {
    pub(super) fn new<'f>(
        column: &'f Column<'f>,
        place: &mut impl FnMut(&'f Buffer<'f>) -> usize,
    ) -> Self {
        Self {
            name: column.name().to_owned(),
            nullable: column.is_nullable(),
            metadata: column.metadata().clone(),
            data: DataMeta::new(column.data(), place),
        }
    }

    pub(super) fn format(&self) -> Result<ColumnType, Error> {
        self.data.format()
    }

    /// The span of the values, and that of the validity.
    pub(super) fn value_spans(&self) -> (Option<usize>, Option<usize>) {
        let span = |at: usize| self.data.spans.get(at).copied().flatten();
        (span(1), span(0))
    }
}

impl DataMeta {
    fn new<'f>(data: &'f ColumnData<'f>, place: &mut impl FnMut(&'f Buffer<'f>) -> usize) -> Self {
        let spans = data
            .buffers()
            .iter()
            .map(|buffer| (!buffer.is_empty()).then(|| place(buffer)))
            .collect();
        let dictionary = data.dictionary().map(|dictionary| {
            let values = Self::new(dictionary.values(), place);
            Box::new(DictionaryMeta {
                ordered: dictionary.is_ordered(),
                values,
            })
        });
        Self {
            format: data.column_type().to_string(),
            len: data.len(),
            spans,
            dictionary,
        }
    }

    pub(super) fn format(&self) -> Result<ColumnType, Error> {
        let fault = |_| Error::Protocol {
            peer: "the owner".into(),
            what: "an unknown column type",
        };
        self.format.parse().map_err(fault)
    }

    /// The values of column `name` over the buffers. Nulls are counted anew: workers change the bitmap in place.
    pub(super) fn data<'a>(
        &self,
        name: &str,
        buffer: &mut impl FnMut(usize) -> Buffer<'a>,
    ) -> Result<ColumnData<'a>, Error> {
        let fault = |fault| FrameError::Column {
            column: name.to_owned(),
            fault,
        };
        let buffers = self.spans.iter();
        let buffers = buffers.map(|span| span.map_or_else(Buffer::default, &mut *buffer));
        let data = ColumnData::new(self.format()?, self.len, buffers.collect()).map_err(fault)?;
        let Some(dictionary) = &self.dictionary else {
            return Ok(data);
        };
        let values = dictionary.values.data(name, buffer)?;
        let dictionary = Dictionary::new(values).with_ordered(dictionary.ordered);
        Ok(data.with_dictionary(dictionary).map_err(fault)?)
    }

    fn renumber(&mut self, old: &mut Vec<usize>) {
        for span in self.spans.iter_mut().flatten() {
            old.push(*span);
            *span = old.len() - 1;
        }
        if let Some(dictionary) = &mut self.dictionary {
            dictionary.values.renumber(old);
        }
    }
}
