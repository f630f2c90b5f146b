//! The reader of headers: keys come in order, and every count is checked before it is used.

use std::collections::BTreeMap;
use std::fmt::{Display, Write};
use std::str::FromStr;
use std::sync::Arc;

use crate::model::array_layout::ArrayLayout;
use crate::model::few::Few;
use crate::model::{Array, Attributes, Field, RecordType, Scalar};
use crate::wire::error::DecodeError;
use crate::wire::header::keys;
use crate::wire::header::parts::{ArrayHeader, Header, HeaderBody, Part};
use crate::wire::header::seen::Seen;
use crate::wire::kind::RecordKind;
use crate::wire::layout::{Align, to_usize};
use crate::wire::msgpack::{Keys, Reader};
use crate::wire::preamble::Preamble;

/// Reads the header of the record of `preamble`, without the checks that need more of the preamble than its kind and the
/// number of its buffers.
pub(super) fn read(
    preamble: &Preamble,
    header: &[u8],
    seen: &mut Seen,
) -> Result<Header, DecodeError> {
    let mut input = Reader::new(header);
    let keys = Keys::begin(&mut input, "header")?;
    let reader = HeaderReader {
        header,
        input,
        keys,
        next: None,
    };
    reader.read(preamble, seen)
}

#[derive(Clone)]
pub(super) struct HeaderReader<'h> {
    /// All of it.
    pub(super) header: &'h [u8],
    pub(super) input: Reader<'h>,
    pub(super) keys: Keys<'h>,
    /// A key that was read and whose value was not.
    next: Option<&'h str>,
}

impl<'h> HeaderReader<'h> {
    fn read(mut self, preamble: &Preamble, seen: &mut Seen) -> Result<Header, DecodeError> {
        let align = self.align()?;
        let mut texts = None;
        if self.optional(keys::ATTRIBUTES)? {
            // They are kept only if the preamble tells the truth about the buffers.
            texts = Some(self.input.clone());
            self.input.skip(1)?;
        }
        let lens = self.lens(preamble.buffers as usize)?;
        let attributes = match texts {
            Some(texts) => texts_of(&mut { texts }, keys::ATTRIBUTES)?,
            None => Attributes::new(),
        };
        let codec = self.codec()?;
        if preamble.flags.compressed != codec.is_some() {
            let (field, expected) = (keys::CODEC, "the flag of a compressed payload, and a codec");
            return Err(DecodeError::Header { field, expected });
        }
        let body = match preamble.kind {
            RecordKind::Array => self.array(codec, lens.first())?,
            RecordKind::Frame => HeaderBody::Frame(self.frame(codec, seen)?),
            RecordKind::Part => self.part(codec)?,
            _ => {
                self.raw(codec)?;
                HeaderBody::Bytes
            }
        };
        if self.peek()?.is_some() || !self.input.is_at_end() {
            return Err(DecodeError::NotCanonical);
        }
        // The codec is offered by nobody; what it packs was read all the same, so that the first fault is named.
        if let Some(Codec { name, .. }) = codec {
            let codec = name.to_owned();
            return Err(DecodeError::Codec { codec });
        }
        Ok(Header {
            body,
            attributes,
            lens,
            align,
            lead: 0,
        })
    }

    fn align(&mut self) -> Result<Align, DecodeError> {
        if !self.optional(keys::ALIGN)? {
            return Ok(Align::DEFAULT);
        }
        let given = Align::new(self.input.len(keys::ALIGN)?);
        given
            .filter(|&align| align != Align::DEFAULT)
            .ok_or(DecodeError::Header {
                field: keys::ALIGN,
                expected: "a power of two from 128 to 2 MiB",
            })
    }

    /// The length of each of the `expected` buffers.
    fn lens(&mut self, expected: usize) -> Result<Few<u64>, DecodeError> {
        self.require(keys::BUFFERS)?;
        let found = self.input.array(keys::BUFFERS)?;
        if found != expected {
            return Err(DecodeError::BufferCount { found, expected });
        }
        // There are no more of them than bytes of the header.
        let mut lens = Few::with_capacity(found);
        for _ in 0..found {
            lens.push(self.input.len("buffer length")? as u64);
        }
        Ok(lens)
    }

    fn codec(&mut self) -> Result<Option<Codec<'h>>, DecodeError> {
        const MAX: usize = 32;
        if !self.optional(keys::CODEC)? {
            return Ok(None);
        }
        let name = self.input.name(keys::CODEC)?;
        if name.is_empty() {
            return Err(DecodeError::Header {
                field: keys::CODEC,
                expected: "a name that is not empty",
            });
        }
        DecodeError::within("length of a codec's name", name.len(), MAX)?;
        Ok(Some(Codec { name }))
    }

    /// The length of each buffer before it was compressed.
    pub(super) fn raw(&mut self, codec: Option<Codec<'_>>) -> Result<(), DecodeError> {
        if codec.is_none() {
            return Ok(());
        }
        self.require(keys::RAW)?;
        for _ in 0..self.input.array(keys::RAW)? {
            self.input.len("raw length")?;
        }
        Ok(())
    }

    fn part(&mut self, codec: Option<Codec<'_>>) -> Result<HeaderBody, DecodeError> {
        self.require(keys::OFFSET)?;
        let offset = self.input.uint(keys::OFFSET)?;
        self.raw(codec)?;
        let mut total = 0;
        if self.optional(keys::TOTAL)? {
            total = self.input.uint(keys::TOTAL)?;
            if total == 0 {
                return Err(DecodeError::NotCanonical);
            }
        }
        self.require(keys::TRANSFER)?;
        let transfer = self.input.uint(keys::TRANSFER)?;
        Ok(HeaderBody::Part(Part {
            offset,
            total,
            transfer,
        }))
    }

    /// The next key of the header.
    pub(super) fn peek(&mut self) -> Result<Option<&'h str>, DecodeError> {
        if self.next.is_none() {
            self.next = self.keys.next(&mut self.input)?;
        }
        Ok(self.next)
    }

    /// Takes the next key if it is `key`.
    pub(super) fn optional(&mut self, key: &'static str) -> Result<bool, DecodeError> {
        let is_next = self.peek()? == Some(key);
        if is_next {
            self.next = None;
        }
        Ok(is_next)
    }

    /// Takes the next key, which is `wanted`. An unknown key is an error where another key is expected.
    pub(super) fn require(&mut self, wanted: &'static str) -> Result<(), DecodeError> {
        if self.optional(wanted)? {
            return Ok(());
        }
        let (field, expected) = match self.peek()? {
            None => ("header", "more keys"),
            Some(key) => match keys::ALL.into_iter().find(|&name| name == key) {
                Some(known) => (known, wanted),
                None => ("header key", "a key of this version"),
            },
        };
        Err(DecodeError::Header { field, expected })
    }

    /// A type in the text form that we write.
    pub(super) fn typed<T>(&mut self, field: &'static str) -> Result<T, DecodeError>
    where
        T: FromStr + Display,
        DecodeError: From<T::Err>,
    {
        let text = self.input.text(field)?;
        let value: T = text.parse()?;
        if is_written_as(&value, text) {
            Ok(value)
        } else {
            Err(DecodeError::NotCanonical)
        }
    }

    fn scalar(&mut self, field: &'static str) -> Result<Scalar, DecodeError> {
        let text = self.input.text(field)?;
        let scalar: Scalar = text.parse()?;
        if scalar.text().as_str() == text {
            Ok(scalar)
        } else {
            Err(DecodeError::NotCanonical)
        }
    }

    /// An array whose buffer has `len` bytes.
    fn array(
        &mut self,
        codec: Option<Codec<'_>>,
        len: Option<&u64>,
    ) -> Result<HeaderBody, DecodeError> {
        self.require(keys::DTYPE)?;
        let dtype = if self.input.next_is_array() {
            self.record()?.into()
        } else {
            self.scalar(keys::DTYPE)?.into()
        };
        self.raw(codec)?;
        self.require(keys::SHAPE)?;
        let dimensions = self.dimensions(keys::SHAPE)?;
        let mut shape = Few::with_capacity(dimensions);
        for _ in 0..dimensions {
            shape.push(self.input.len("dimension")?);
        }
        let mut strides: Option<Few<isize>> = None;
        if self.optional(keys::STRIDES)? {
            let mut steps = Few::with_capacity(dimensions);
            for _ in 0..self.dimensions(keys::STRIDES)? {
                let step = self.input.int("stride")?;
                let fits = isize::try_from(step);
                steps.push(fits.map_err(|_| DecodeError::Header {
                    field: keys::STRIDES,
                    expected: "addressable strides",
                })?);
            }
            strides = Some(steps);
        }
        let len = to_usize(len.copied().unwrap_or(0));
        let layout = ArrayLayout::new(dtype, shape, strides.as_deref(), len)?;
        // Strides that say nothing, or not in the one form, are not written.
        if layout.strides() != strides.as_deref() {
            return Err(DecodeError::NotCanonical);
        }
        let layout = Arc::new(layout);
        Ok(HeaderBody::Array(ArrayHeader { layout }))
    }

    fn dimensions(&mut self, field: &'static str) -> Result<usize, DecodeError> {
        let count = self.input.array(field)?;
        DecodeError::within("number of dimensions", count, Array::MAX_DIMENSIONS)?;
        Ok(count)
    }

    fn record(&mut self) -> Result<RecordType, DecodeError> {
        self.tuple("record", 2)?;
        let size = self.input.len("record size")?;
        let count = self.input.array("record fields")?;
        DecodeError::within("number of fields", count, RecordType::MAX_FIELDS)?;
        let mut fields = Vec::with_capacity(count);
        for _ in 0..count {
            self.tuple("record field", 3)?;
            let name = self.input.name("field name")?.to_owned();
            let scalar = self.scalar("field type")?;
            fields.push(Field::new(name, scalar, self.input.len("field offset")?));
        }
        Ok(RecordType::new(fields, size)?)
    }

    fn tuple(&mut self, field: &'static str, len: usize) -> Result<(), DecodeError> {
        let expected = DecodeError::Header {
            field,
            expected: "another number of items",
        };
        if self.input.array(field)? == len {
            Ok(())
        } else {
            Err(expected)
        }
    }

    pub(super) fn flag(&mut self, field: &'static str) -> Result<bool, DecodeError> {
        match self.input.uint(field)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::Header {
                field,
                expected: "0 or 1",
            }),
        }
    }
}

/// How a payload is compressed.
#[derive(Clone, Copy)]
pub(super) struct Codec<'h> {
    name: &'h str,
}

/// A map from text to text, which is left out if it is empty.
pub(super) fn texts_of(
    input: &mut Reader<'_>,
    field: &'static str,
) -> Result<BTreeMap<String, String>, DecodeError> {
    let map = input.text_map(field)?;
    if map.is_empty() {
        return Err(DecodeError::NotCanonical);
    }
    Ok(map)
}

/// True if `value` is written as `text`, compared without a copy.
fn is_written_as(value: &impl Display, text: &str) -> bool {
    struct Rest<'t>(&'t str);
    impl Write for Rest<'_> {
        fn write_str(&mut self, part: &str) -> std::fmt::Result {
            self.0 = self.0.strip_prefix(part).ok_or(std::fmt::Error)?;
            Ok(())
        }
    }
    let mut rest = Rest(text);
    write!(rest, "{value}").is_ok() && rest.0.is_empty()
}
