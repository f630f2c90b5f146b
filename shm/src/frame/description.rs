//! What the bytes of a frame mean.

use std::collections::BTreeMap;

use numpush_message::{
    Buffer, Column, ColumnData, ColumnType, Dictionary, Dtype, Element, Frame, FrameError,
};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::object::{Describe, Spans};

/// The description of a frame as processes send it to each other. Buffers are numbers of spans.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct FrameDescription {
    pub(super) rows: usize,
    pub(super) columns: Vec<ColumnDescription>,
    metadata: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct ColumnDescription {
    pub(super) name: String,
    nullable: bool,
    metadata: BTreeMap<String, String>,
    pub(super) data: DataDescription,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct DataDescription {
    format: String,
    pub(super) len: usize,
    /// The span of each buffer; `None` for an empty one.
    pub(super) spans: Vec<Option<usize>>,
    pub(super) dictionary: Option<Box<DictionaryDescription>>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct DictionaryDescription {
    ordered: bool,
    pub(super) values: DataDescription,
}

impl FrameDescription {
    /// Describes `frame`. `place` gets each buffer that is not empty, and returns the number of its span.
    pub(super) fn new<'f>(
        frame: &'f Frame<'f>,
        mut place: impl FnMut(&'f Buffer<'f>) -> usize,
    ) -> Self {
        let columns = frame
            .columns()
            .iter()
            .map(|column| ColumnDescription::new(column, &mut place))
            .collect();
        Self {
            rows: frame.rows(),
            columns,
            metadata: frame.metadata().clone(),
        }
    }

    pub(super) fn column(&self, name: &str) -> Result<&ColumnDescription, Error> {
        let found = self.columns.iter().find(|column| column.name == name);
        found.ok_or_else(|| Error::Column {
            name: name.into(),
            fault: "is not in the frame".into(),
        })
    }

    /// The frame over the buffers that `buffer` returns for spans.
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

    /// Renumbers the spans that the columns use from zero in order, and returns the old number of each.
    pub(super) fn renumber(&mut self) -> Vec<usize> {
        let mut old = Vec::new();
        for column in &mut self.columns {
            column.data.renumber(&mut old);
        }
        old
    }
}

impl FrameDescription {
    /// Checks each column of numbers by `check`, which gets the span of the values and their alignment.
    pub(super) fn check_alignment(
        &self,
        check: impl Fn(usize, usize) -> Result<(), Error>,
    ) -> Result<(), Error> {
        for column in &self.columns {
            let number = column.format()?.number();
            if let (Some(number), (Some(span), _)) = (number, column.value_spans()) {
                check(span, number.size())?;
            }
        }
        Ok(())
    }

    /// True if no two buffers are one span: they are borrowed at the same time.
    fn has_each_span_once(&self) -> bool {
        let mut spans = self.clone().renumber();
        let count = spans.len();
        spans.sort_unstable();
        spans.dedup();
        spans.len() == count
    }
}

impl Describe for FrameDescription {
    const KIND: &'static str = "a frame";
    type Sent = Self;

    fn sent(&self) -> &Self {
        self
    }

    fn receive(sent: Self, spans: &Spans) -> Result<Self, Error> {
        let malformed = |what| Error::Protocol {
            peer: "the owner".into(),
            what,
        };
        let len = |span: usize| spans.len_of(span);
        let fits =
            |column: &ColumnDescription| column.data.len == sent.rows && column.data.fits(&len);
        if !sent.columns.iter().all(fits) {
            return Err(malformed("columns that do not fit their bytes"));
        }
        if spans.locks().len() != 1 {
            return Err(malformed("a frame under several locks"));
        }
        if !sent.has_each_span_once() {
            return Err(malformed("two columns of the same bytes"));
        }
        sent.check_alignment(|span, alignment| spans.check_alignment(span, alignment))?;
        Ok(sent)
    }

    fn summary(sent: &Self) -> String {
        format!("frame {} rows, {} columns", sent.rows, sent.columns.len())
    }
}

impl ColumnDescription {
    pub(super) fn new<'f>(
        column: &'f Column<'f>,
        place: &mut impl FnMut(&'f Buffer<'f>) -> usize,
    ) -> Self {
        Self {
            name: column.name().to_owned(),
            nullable: column.is_nullable(),
            metadata: column.metadata().clone(),
            data: DataDescription::new(column.data(), place),
        }
    }

    pub(super) fn format(&self) -> Result<ColumnType, Error> {
        self.data.format()
    }

    /// Checks that the values are of `T`.
    pub(super) fn check<T: Element>(&self) -> Result<(), Error> {
        let format = self.format()?;
        if format.number() == Some(T::SCALAR) && self.data.dictionary.is_none() {
            return Ok(());
        }
        let wanted = Dtype::Scalar(T::SCALAR);
        Err(self.fault(format!(
            "is of Arrow type {format}, whose values are not written as {wanted}"
        )))
    }

    /// Checks that the values are booleans.
    pub(super) fn check_bool(&self) -> Result<(), Error> {
        match self.format()? {
            ColumnType::Bool => Ok(()),
            format => Err(self.fault(format!("is of Arrow type {format}, not of booleans"))),
        }
    }

    /// Checks that the values are strings, or of a dictionary: nobody writes those in place.
    pub(super) fn check_text(&self) -> Result<(), Error> {
        match self.format()? {
            ColumnType::Utf8 | ColumnType::LargeUtf8 => Ok(()),
            _ if self.data.dictionary.is_some() => Ok(()),
            format => Err(self.fault(format!("is of Arrow type {format}, not of strings"))),
        }
    }

    fn fault(&self, fault: String) -> Error {
        Error::Column {
            name: self.name.clone(),
            fault,
        }
    }

    /// The span of the values, and that of the validity.
    pub(super) fn value_spans(&self) -> (Option<usize>, Option<usize>) {
        let span = |at: usize| self.data.spans.get(at).copied().flatten();
        (span(1), span(0))
    }
}

impl DataDescription {
    fn new<'f>(data: &'f ColumnData<'f>, place: &mut impl FnMut(&'f Buffer<'f>) -> usize) -> Self {
        let spans = data
            .buffers()
            .iter()
            .map(|buffer| (!buffer.is_empty()).then(|| place(buffer)))
            .collect();
        let dictionary = data.dictionary().map(|dictionary| {
            let values = Self::new(dictionary.values(), place);
            Box::new(DictionaryDescription {
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

    /// True if the buffers are as long as the type and the number of values want; `len` returns the length of a span.
    fn fits(&self, len: &impl Fn(usize) -> Option<usize>) -> bool {
        let Ok(format) = self.format() else {
            return false;
        };
        let of = |at: usize| match self.spans.get(at) {
            None => None,
            Some(None) => Some(0),
            Some(Some(span)) => len(*span),
        };
        // Offsets and strings are looked up with every bound checked; but no span may be missing.
        let all_there = self.spans.iter().flatten().all(|&span| len(span).is_some());
        let bits = self.len.div_ceil(8);
        let validity = of(0).is_none_or(|len| len == 0 || len == bits);
        let values = match (format.fixed_size(), &format) {
            (Some(size), _) => of(1) == self.len.checked_mul(size),
            (None, ColumnType::Bool) => of(1) == Some(bits),
            _ => true,
        };
        all_there
            && validity
            && values
            && self
                .dictionary
                .as_ref()
                .is_none_or(|dictionary| dictionary.values.fits(len))
    }

    /// The spans of all buffers, those of the dictionary included.
    pub(super) fn all_spans(&self) -> Vec<usize> {
        let mut all: Vec<usize> = self.spans.iter().flatten().copied().collect();
        if let Some(dictionary) = &self.dictionary {
            all.extend(dictionary.values.all_spans());
        }
        all
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
