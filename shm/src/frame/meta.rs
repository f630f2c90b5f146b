use std::collections::BTreeMap;

use numpush_message::{Buffer, Column, ColumnData, ColumnType, Dictionary, Frame};
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
            .columns
            .iter()
            .map(|column| ColumnMeta::new(column, &mut place))
            .collect();
        Self {
            rows: frame.rows,
            columns,
            metadata: frame.metadata.clone(),
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
            columns.push(Column {
                name: column.name.clone(),
                nullable: column.nullable,
                metadata: column.metadata.clone(),
                data: column.data.data(&mut buffer)?,
            });
        }
        Ok(Frame {
            rows: self.rows,
            columns,
            metadata: self.metadata.clone(),
            rebased: 0,
        })
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
            name: column.name.clone(),
            nullable: column.nullable,
            metadata: column.metadata.clone(),
            data: DataMeta::new(&column.data, place),
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
            .buffers
            .iter()
            .map(|buffer| (!buffer.is_empty()).then(|| place(buffer)))
            .collect();
        let dictionary = data.dictionary.as_ref().map(|dictionary| {
            let values = Self::new(&dictionary.values, place);
            Box::new(DictionaryMeta {
                ordered: dictionary.ordered,
                values,
            })
        });
        Self {
            format: data.format.to_string(),
            len: data.len,
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

    pub(super) fn data<'a>(
        &self,
        buffer: &mut impl FnMut(usize) -> Buffer<'a>,
    ) -> Result<ColumnData<'a>, Error> {
        let format = self.format()?;
        let buffers: Vec<Buffer<'a>> = self
            .spans
            .iter()
            .map(|span| span.map_or_else(Buffer::default, &mut *buffer))
            .collect();
        let dictionary = match &self.dictionary {
            Some(dictionary) => {
                let values = dictionary.values.data(buffer)?;
                Some(Box::new(Dictionary {
                    ordered: dictionary.ordered,
                    values,
                }))
            }
            None => None,
        };
        // Counted anew: workers change the bitmap in place.
        let null_count = match buffers.first() {
            None => self.len,
            Some(bits) if bits.is_empty() => 0,
            Some(bits) => self.len - count_ones(bits, self.len),
        };
        Ok(ColumnData {
            format,
            len: self.len,
            null_count,
            buffers,
            dictionary,
        })
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

/// Ones among the first `len` bits.
fn count_ones(bits: &[u8], len: usize) -> usize {
    let whole = (len / 8).min(bits.len());
    let ones: usize = bits[..whole]
        .iter()
        .map(|byte| byte.count_ones() as usize)
        .sum();
    let rest = bits.get(whole).filter(|_| !len.is_multiple_of(8));
    ones + rest.map_or(0, |byte| {
        (byte & ((1 << (len % 8)) - 1)).count_ones() as usize
    })
}
