//! Msgpack: a reader that checks every length, and a writer of the shortest form.
//!
//! The reader allocates nothing for a claimed count. A count it returns is no larger than the bytes left; a text it returns
//! is a slice of the header.

use std::collections::BTreeMap;

use rmp::Marker;
use rmp::decode::{self, DecodeStringError, RmpRead};
use rmp::encode;

use crate::model::name::check_name;
use crate::wire::error::DecodeError;

pub(crate) struct Reader<'h> {
    rest: &'h [u8],
}

impl<'h> Reader<'h> {
    pub(crate) fn new(header: &'h [u8]) -> Self {
        Self { rest: header }
    }

    /// The bytes that have not been read.
    pub(crate) fn left(&self) -> usize {
        self.rest.len()
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn text(&mut self, field: &'static str) -> Result<&'h str, DecodeError> {
        // A header with many columns is mostly short text: this way around `rmp` is for speed.
        if let Some((&marker @ 0xa0..=0xbf, rest)) = self.rest.split_first()
            && let Some((text, rest)) = rest.split_at_checked(usize::from(marker & 0x1f))
        {
            self.rest = rest;
            return std::str::from_utf8(text).map_err(|_| DecodeError::Header {
                field,
                expected: "UTF-8 text",
            });
        }
        match decode::read_str_from_slice(self.rest) {
            Ok((text, rest)) => {
                self.rest = rest;
                Ok(text)
            }
            Err(DecodeStringError::InvalidUtf8(..)) => Err(DecodeError::Header {
                field,
                expected: "UTF-8 text",
            }),
            Err(_) => Err(DecodeError::Header {
                field,
                expected: "text",
            }),
        }
    }

    /// A name: text of limited length without NUL, which a C string cannot hold.
    pub(crate) fn name(&mut self, field: &'static str) -> Result<&'h str, DecodeError> {
        let name = self.text(field)?;
        check_name(name)?;
        Ok(name)
    }

    pub(crate) fn uint(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        if let Some((&value @ 0..=0x7f, rest)) = self.rest.split_first() {
            self.rest = rest;
            return Ok(value.into());
        }
        decode::read_int(&mut self.rest).map_err(|_| DecodeError::Header {
            field,
            expected: "an unsigned integer",
        })
    }

    pub(crate) fn int(&mut self, field: &'static str) -> Result<i64, DecodeError> {
        decode::read_int(&mut self.rest).map_err(|_| DecodeError::Header {
            field,
            expected: "an integer",
        })
    }

    /// An unsigned integer that fits a `usize`.
    pub(crate) fn len(&mut self, field: &'static str) -> Result<usize, DecodeError> {
        let value = self.uint(field)?;
        let max = isize::MAX as u64;
        match usize::try_from(value) {
            Ok(len) if value <= max => Ok(len),
            _ => Err(DecodeError::OverLimit {
                what: field,
                value,
                max,
            }),
        }
    }

    pub(crate) fn array(&mut self, field: &'static str) -> Result<usize, DecodeError> {
        let count = decode::read_array_len(&mut self.rest);
        self.count(
            count.map_err(|_| DecodeError::Header {
                field,
                expected: "an array",
            })?,
            1,
            field,
        )
    }

    pub(crate) fn map(&mut self, field: &'static str) -> Result<usize, DecodeError> {
        let count = decode::read_map_len(&mut self.rest);
        self.count(
            count.map_err(|_| DecodeError::Header {
                field,
                expected: "a map",
            })?,
            2,
            field,
        )
    }

    /// Checks a count of items. Each item takes at least one byte, so a count over the bytes left cannot be true.
    fn count(
        &self,
        count: u32,
        bytes_each: usize,
        field: &'static str,
    ) -> Result<usize, DecodeError> {
        let count = count as usize;
        if count > self.rest.len() / bytes_each {
            return Err(DecodeError::Header {
                field,
                expected: "no more items than bytes",
            });
        }
        Ok(count)
    }

    pub(crate) fn next_is_array(&self) -> bool {
        let marker = self.rest.first().map(|&byte| Marker::from_u8(byte));
        matches!(
            marker,
            Some(Marker::FixArray(_) | Marker::Array16 | Marker::Array32)
        )
    }

    /// Reads a nil, if one comes next.
    pub(crate) fn nil(&mut self) -> bool {
        let is_nil = self
            .rest
            .first()
            .is_some_and(|&byte| Marker::from_u8(byte) == Marker::Null);
        if is_nil {
            let _ = self.rest.read_u8();
        }
        is_nil
    }

    /// A map from text to text, its keys in rising order.
    pub(crate) fn text_map(
        &mut self,
        field: &'static str,
    ) -> Result<BTreeMap<String, String>, DecodeError> {
        let mut map = BTreeMap::new();
        for _ in 0..self.map(field)? {
            let key = self.name(field)?.to_owned();
            if map.last_key_value().is_some_and(|(last, _)| *last >= key) {
                return Err(DecodeError::NotCanonical);
            }
            let value = self.text(field)?.to_owned();
            map.insert(key, value);
        }
        Ok(map)
    }
}

/// Writes into memory, which cannot fail.
pub(crate) struct Writer {
    bytes: Vec<u8>,
}

macro_rules! infallible {
    ($written:expr) => {
        // A write to a Vec never fails; `rmp` returns a `Result` for other writers.
        let _ = $written;
    };
}

impl Writer {
    /// A writer that starts after `bytes`.
    pub(crate) fn after(bytes: Vec<u8>) -> Self {
        Self { bytes }
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.bytes
    }

    pub(crate) fn text(&mut self, text: &str) {
        if let Ok(len @ 0..=31) = u8::try_from(text.len()) {
            self.bytes.push(0xa0 | len);
            self.bytes.extend_from_slice(text.as_bytes());
            return;
        }
        infallible!(encode::write_str(&mut self.bytes, text));
    }

    /// A length or a count.
    pub(crate) fn len(&mut self, len: usize) {
        self.uint(len as u64);
    }

    pub(crate) fn uint(&mut self, value: u64) {
        if let Ok(value @ 0..=0x7f) = u8::try_from(value) {
            self.bytes.push(value);
            return;
        }
        infallible!(encode::write_uint(&mut self.bytes, value));
    }

    pub(crate) fn int(&mut self, value: i64) {
        infallible!(encode::write_sint(&mut self.bytes, value));
    }

    pub(crate) fn array(&mut self, count: usize) {
        infallible!(encode::write_array_len(
            &mut self.bytes,
            u32::try_from(count).unwrap_or(u32::MAX)
        ));
    }

    pub(crate) fn map(&mut self, count: usize) {
        infallible!(encode::write_map_len(
            &mut self.bytes,
            u32::try_from(count).unwrap_or(u32::MAX)
        ));
    }

    pub(crate) fn nil(&mut self) {
        infallible!(encode::write_nil(&mut self.bytes));
    }

    pub(crate) fn text_map(&mut self, map: &BTreeMap<String, String>) {
        self.map(map.len());
        for (key, value) in map {
            self.text(key);
            self.text(value);
        }
    }
}
