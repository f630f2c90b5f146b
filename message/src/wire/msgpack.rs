//! Msgpack: a reader that checks every length and takes the shortest form only, and a writer of that form.
//!
//! The reader allocates nothing for a claimed count. A count it returns is no larger than the bytes left; a text it returns
//! is a slice of the header.

use std::collections::BTreeMap;

use rmp::Marker;
use rmp::decode::{self, RmpRead};
use rmp::encode;

use crate::model::name::check_name;
use crate::wire::error::DecodeError;
use crate::wire::limits::Limits;

/// How many arrays and maps may lie inside one another in a value that is skipped.
pub(crate) const MAX_SKIP_DEPTH: usize = 8;

#[derive(Clone)]
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

    /// Goes on behind `bytes`, if they come next.
    pub(crate) fn pass(&mut self, bytes: &[u8]) -> bool {
        let rest = self.rest.strip_prefix(bytes);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn text(&mut self, field: &'static str) -> Result<&'h str, DecodeError> {
        let text = self.text_bytes(field)?;
        std::str::from_utf8(text).map_err(|_| DecodeError::Header {
            field,
            expected: "UTF-8 text",
        })
    }

    /// A text, whose bytes nobody has looked at.
    #[inline]
    pub(crate) fn text_bytes(&mut self, field: &'static str) -> Result<&'h [u8], DecodeError> {
        // A header with many columns is mostly short text: this way around `rmp` is for speed.
        if let Some((&marker @ 0xa0..=0xbf, rest)) = self.rest.split_first()
            && let Some((text, rest)) = rest.split_at_checked(usize::from(marker & 0x1f))
        {
            self.rest = rest;
            return Ok(text);
        }
        self.long_text(field)
    }

    /// The bytes of a text of more than 31 of them.
    fn long_text(&mut self, field: &'static str) -> Result<&'h [u8], DecodeError> {
        let fault = DecodeError::Header {
            field,
            expected: "text",
        };
        let mut rest = self.rest;
        let Ok(len) = decode::read_str_len(&mut rest) else {
            return Err(fault);
        };
        let Some((text, rest)) = rest.split_at_checked(len as usize) else {
            return Err(fault);
        };
        let form = match text.len() {
            // Their form has one byte, and was read before.
            0..=31 => return Err(DecodeError::NotCanonical),
            32..=0xff => 2,
            0x100..=0xffff => 3,
            _ => 5,
        };
        self.expect_consumed(rest, form + text.len())?;
        self.rest = rest;
        Ok(text)
    }

    /// A name: text of limited length without NUL, which a C string cannot hold.
    pub(crate) fn name(&mut self, field: &'static str) -> Result<&'h str, DecodeError> {
        let name = self.text(field)?;
        check_name(name)?;
        Ok(name)
    }

    #[inline]
    pub(crate) fn uint(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        if let Some((&value @ 0..=0x7f, rest)) = self.rest.split_first() {
            self.rest = rest;
            return Ok(value.into());
        }
        self.long_uint(field)
    }

    /// An unsigned integer of more than one byte.
    fn long_uint(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        let mut rest = self.rest;
        let value = decode::read_int(&mut rest).map_err(|_| DecodeError::Header {
            field,
            expected: "an unsigned integer",
        })?;
        self.end_of_uint(value, rest)?;
        Ok(value)
    }

    /// An unsigned integer of 32 bits.
    pub(crate) fn uint32(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        let value = self.uint(field)?;
        u32::try_from(value).map_err(|_| DecodeError::OverLimit {
            what: field,
            value,
            max: u32::MAX.into(),
        })
    }

    pub(crate) fn int(&mut self, field: &'static str) -> Result<i64, DecodeError> {
        let mut rest = self.rest;
        let value: i64 = decode::read_int(&mut rest).map_err(|_| DecodeError::Header {
            field,
            expected: "an integer",
        })?;
        match u64::try_from(value) {
            Ok(value) => self.end_of_uint(value, rest)?,
            Err(_) => {
                let form = match value {
                    -0x20.. => 1,
                    -0x80.. => 2,
                    -0x8000.. => 3,
                    -0x8000_0000.. => 5,
                    _ => 9,
                };
                self.expect_consumed(rest, form)?;
                self.rest = rest;
            }
        }
        Ok(value)
    }

    /// Goes on at `rest`, behind an unsigned integer, if that had the shortest form.
    fn end_of_uint(&mut self, value: u64, rest: &'h [u8]) -> Result<(), DecodeError> {
        let form = match value {
            0..=0x7f => 1,
            0x80..=0xff => 2,
            0x100..=0xffff => 3,
            0x1_0000..=0xffff_ffff => 5,
            _ => 9,
        };
        // The signed forms may be as long.
        if matches!(self.rest.first(), Some(0xd0..=0xd3)) {
            return Err(DecodeError::NotCanonical);
        }
        self.expect_consumed(rest, form)?;
        self.rest = rest;
        Ok(())
    }

    /// Checks that what was read, up to `rest`, has `len` bytes.
    fn expect_consumed(&self, rest: &[u8], len: usize) -> Result<(), DecodeError> {
        if self.rest.len() - rest.len() == len {
            Ok(())
        } else {
            Err(DecodeError::NotCanonical)
        }
    }

    /// An unsigned integer that fits a `usize`.
    #[inline]
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
        // A column is a short array: this way around `rmp` is for speed.
        if let Some((&marker @ 0x90..=0x9f, rest)) = self.rest.split_first() {
            return self.count(u32::from(marker & 0x0f), 1, rest, field);
        }
        let mut rest = self.rest;
        let count = decode::read_array_len(&mut rest).map_err(|_| DecodeError::Header {
            field,
            expected: "an array",
        })?;
        self.count(count, 1, rest, field)
    }

    pub(crate) fn map(&mut self, field: &'static str) -> Result<usize, DecodeError> {
        if let Some((&marker @ 0x80..=0x8f, rest)) = self.rest.split_first() {
            return self.count(u32::from(marker & 0x0f), 2, rest, field);
        }
        let mut rest = self.rest;
        let count = decode::read_map_len(&mut rest).map_err(|_| DecodeError::Header {
            field,
            expected: "a map",
        })?;
        self.count(count, 2, rest, field)
    }

    /// Goes on at `rest`, behind a count of items. Each item takes at least one byte, so a count over the bytes left
    /// cannot be true.
    fn count(
        &mut self,
        count: u32,
        bytes_each: usize,
        rest: &'h [u8],
        field: &'static str,
    ) -> Result<usize, DecodeError> {
        let form = match count {
            0..=15 => 1,
            16..=0xffff => 3,
            _ => 5,
        };
        self.expect_consumed(rest, form)?;
        self.rest = rest;
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

    /// Reads a value of any kind that canonical headers have, and drops it: its maps have rising keys of text.
    ///
    /// `depth` is how many arrays and maps may lie inside one another.
    pub(crate) fn skip(&mut self, depth: usize) -> Result<(), DecodeError> {
        const FIELD: &str = "value";
        let first = self.rest.first().map(|&byte| Marker::from_u8(byte));
        let deeper = || {
            depth.checked_sub(1).ok_or(DecodeError::OverLimit {
                what: "depth of a value",
                value: MAX_SKIP_DEPTH as u64 + 1,
                max: MAX_SKIP_DEPTH as u64,
            })
        };
        match first {
            Some(Marker::Null) => {
                self.nil();
            }
            Some(Marker::FixStr(_) | Marker::Str8 | Marker::Str16 | Marker::Str32) => {
                self.text(FIELD)?;
            }
            Some(Marker::FixArray(_) | Marker::Array16 | Marker::Array32) => {
                let depth = deeper()?;
                for _ in 0..self.array(FIELD)? {
                    self.skip(depth)?;
                }
            }
            Some(Marker::FixMap(_) | Marker::Map16 | Marker::Map32) => {
                let depth = deeper()?;
                let mut last = None;
                for _ in 0..self.map(FIELD)? {
                    let key = self.text(FIELD)?;
                    if last.replace(key).is_some_and(|last| last >= key) {
                        return Err(DecodeError::NotCanonical);
                    }
                    self.skip(depth)?;
                }
            }
            Some(Marker::U64) => {
                self.uint(FIELD)?;
            }
            _ => {
                self.int(FIELD)?;
            }
        }
        Ok(())
    }

    /// A map from text to text, its keys in rising order.
    pub(crate) fn text_map(
        &mut self,
        field: &'static str,
    ) -> Result<BTreeMap<String, String>, DecodeError> {
        let count = self.map(field)?;
        DecodeError::within(field, count, Limits::ENTRIES)?;
        let mut map = BTreeMap::new();
        for _ in 0..count {
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

/// The keys of a map, which rise. Entries whose keys are ancillary, those that begin with an upper-case letter, are
/// skipped.
#[derive(Clone)]
pub(crate) struct Keys<'h> {
    left: usize,
    last: Option<&'h str>,
}

impl<'h> Keys<'h> {
    /// Begins a map.
    pub(crate) fn begin(input: &mut Reader<'h>, field: &'static str) -> Result<Self, DecodeError> {
        let left = input.map(field)?;
        Ok(Self { left, last: None })
    }

    /// The next key, whose value follows; `None` at the end of the map.
    pub(crate) fn next(&mut self, input: &mut Reader<'h>) -> Result<Option<&'h str>, DecodeError> {
        while let Some(left) = self.left.checked_sub(1) {
            self.left = left;
            let key = input.text("key")?;
            if self.last.replace(key).is_some_and(|last| last >= key) {
                return Err(DecodeError::NotCanonical);
            }
            if !key.starts_with(|first: char| first.is_ascii_uppercase()) {
                return Ok(Some(key));
            }
            input.skip(MAX_SKIP_DEPTH)?;
        }
        Ok(None)
    }

    /// Takes note of an entry that was read by other means. False if the map has no more.
    pub(crate) fn note(&mut self, key: &'h str) -> bool {
        self.last = Some(key);
        let left = self.left.checked_sub(1);
        self.left = left.unwrap_or(0);
        left.is_some()
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

    /// Bytes that were written, and those before them.
    pub(crate) fn written(&self) -> usize {
        self.bytes.len()
    }

    /// Msgpack that is there already.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
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
    #[inline]
    pub(crate) fn len(&mut self, len: usize) {
        self.uint(len as u64);
    }

    #[inline]
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
        if let Ok(count @ 0..=15) = u8::try_from(count) {
            self.bytes.push(0x90 | count);
            return;
        }
        infallible!(encode::write_array_len(
            &mut self.bytes,
            u32::try_from(count).unwrap_or(u32::MAX)
        ));
    }

    pub(crate) fn map(&mut self, count: usize) {
        if let Ok(count @ 0..=15) = u8::try_from(count) {
            self.bytes.push(0x80 | count);
            return;
        }
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
