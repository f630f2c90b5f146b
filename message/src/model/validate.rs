//! Checks of the buffers of a column. The bytes may come from anybody.

use crate::model::column_error::ColumnError;
use crate::model::column_type::{ColumnType, Storage};

/// Values of one type, without those of their dictionary: a column or a dictionary, as far as checks look at it.
pub(crate) struct Level<'l> {
    column_type: &'l ColumnType,
    storage: Storage,
    len: usize,
    null_count: usize,
    /// As many as the type has, and empty ones after these.
    buffers: [&'l [u8]; 3],
    /// Values of the dictionary, if there is one.
    entries: Option<usize>,
}

impl<'l> Level<'l> {
    /// Values without bytes; `entries` is the length of their dictionary, if they have one.
    pub(crate) fn new(
        column_type: &'l ColumnType,
        len: usize,
        null_count: usize,
        entries: Option<usize>,
    ) -> Self {
        Self {
            column_type,
            storage: column_type.storage(),
            len,
            null_count,
            buffers: [&[]; 3],
            entries,
        }
    }

    /// Where the bytes belong: a slice for each buffer of the type.
    pub(crate) fn buffers_mut(&mut self) -> &mut [&'l [u8]] {
        &mut self.buffers[..self.storage.buffers()]
    }

    /// Checks the length of each buffer, and that only integers are codes. Looks into no buffer.
    #[inline]
    pub(crate) fn check_lengths(&self) -> Result<(), ColumnError> {
        if self.entries.is_some() && !self.column_type.is_integer() {
            return Err(ColumnError::Codes {
                codes: self.column_type.clone(),
            });
        }
        let len = self.len as u64;
        let expected = match self.storage {
            Storage::Nothing => return Ok(()),
            Storage::Bits => len.div_ceil(8),
            Storage::Fixed(size) => len.saturating_mul(size as u64),
            Storage::Variable { offset, .. } => len.saturating_add(1).saturating_mul(offset as u64),
        };
        let bits = match self.null_count {
            0 => 0,
            _ => len.div_ceil(8),
        };
        check_length(0, self.buffers[0], self.len, bits)?;
        check_length(1, self.buffers[1], self.len, expected)
    }

    /// True if there is anything to look at: numbers without nulls, which are not codes, may have any bytes.
    #[inline]
    pub(crate) fn has_contents(&self) -> bool {
        let is_plain = matches!(self.storage, Storage::Fixed(_));
        !is_plain || self.null_count != 0 || self.entries.is_some()
    }

    /// Checks bitmaps, offsets, text and dictionary codes; the lengths have been checked.
    pub(crate) fn check_contents(&self) -> Result<(), ColumnError> {
        let [validity, values, data] = self.buffers;
        check_bit_padding(validity, self.len)?;
        let marked = match self.storage {
            Storage::Nothing => self.len,
            _ if validity.is_empty() => 0,
            _ => self.len - count_ones(validity, self.len),
        };
        if marked != self.null_count {
            let claimed = self.null_count;
            return Err(ColumnError::NullCount { claimed, marked });
        }
        match self.storage {
            Storage::Bits => check_bit_padding(values, self.len)?,
            Storage::Variable { offset: 4, text } => check_offsets::<4>(values, data, text)?,
            Storage::Variable { text, .. } => check_offsets::<8>(values, data, text)?,
            Storage::Nothing | Storage::Fixed(_) => {}
        }
        match self.entries {
            Some(entries) => check_codes(self.column_type, values, entries as u64, validity),
            None => Ok(()),
        }
    }
}

/// Checks that a buffer has the length that `rows` values need.
#[inline]
pub(crate) fn check_length(
    index: usize,
    buffer: &[u8],
    rows: usize,
    expected: u64,
) -> Result<(), ColumnError> {
    let found = buffer.len() as u64;
    if found == expected {
        return Ok(());
    }
    Err(ColumnError::BufferLength {
        buffer: index,
        rows,
        found,
        expected,
    })
}

/// Ones among the first `len` bits.
pub(crate) fn count_ones(bits: &[u8], len: usize) -> usize {
    let (whole, last) = bits.split_at((len / 8).min(bits.len()));
    let (words, rest) = whole.as_chunks::<8>();
    let words = words
        .iter()
        .map(|word| u64::from_ne_bytes(*word).count_ones());
    let rest = rest.iter().map(|byte| byte.count_ones());
    let used = (1_u8 << (len % 8)) - 1;
    let last = last.first().map_or(0, |byte| (byte & used).count_ones());
    words.chain(rest).map(|ones| ones as usize).sum::<usize>() + last as usize
}

fn check_bit_padding(bits: &[u8], rows: usize) -> Result<(), ColumnError> {
    let used = rows % 8;
    match bits.last() {
        Some(last) if used != 0 && last >> used != 0 => Err(ColumnError::BitPadding),
        _ => Ok(()),
    }
}

/// Offsets are signed and rise from zero to the data's length; text is UTF-8 and no offset cuts a character.
fn check_offsets<const N: usize>(
    offsets: &[u8],
    values: &[u8],
    text: bool,
) -> Result<(), ColumnError> {
    let fault = |index| ColumnError::Offsets {
        index,
        data: values.len() as u64,
    };
    let (entries, _) = offsets.as_chunks::<N>();
    let mut last = 0;
    // The first loop only finds out whether there is a fault, which is faster; the second looks for it.
    let mut fell = false;
    for entry in entries {
        let offset = le_signed(entry);
        fell |= offset < last;
        last = offset;
    }
    let first = entries.first().map_or(0, le_signed);
    if fell || first != 0 || u64::try_from(last) != Ok(values.len() as u64) {
        let pairs = entries
            .windows(2)
            .position(|pair| le_signed(&pair[1]) < le_signed(&pair[0]));
        return Err(fault(
            pairs.map_or(if first == 0 { entries.len() - 1 } else { 0 }, |at| at + 1),
        ));
    }
    if !text || values.is_ascii() {
        return Ok(());
    }
    let text = simdutf8::basic::from_utf8(values).map_err(|_| ColumnError::Utf8)?;
    let whole = |entry| usize::try_from(le_signed(entry)).is_ok_and(|at| text.is_char_boundary(at));
    if entries.iter().all(whole) {
        Ok(())
    } else {
        Err(ColumnError::Utf8)
    }
}

fn le_signed<const N: usize>(bytes: &[u8; N]) -> i64 {
    let mut wide = [if bytes[N - 1] & 0x80 == 0 { 0 } else { 0xff }; 8];
    wide[..N].copy_from_slice(bytes);
    i64::from_le_bytes(wide)
}

fn check_codes(
    column_type: &ColumnType,
    codes: &[u8],
    entries: u64,
    validity: &[u8],
) -> Result<(), ColumnError> {
    // As one pass over unsigned numbers, which the compiler makes a loop over vectors: a negative code is one from half of
    // the range on.
    let fine = match column_type {
        ColumnType::Int8 => below(codes, u8::from_le_bytes, entries.min(1 << 7)),
        ColumnType::Uint8 => below(codes, u8::from_le_bytes, entries),
        ColumnType::Int16 => below(codes, u16::from_le_bytes, entries.min(1 << 15)),
        ColumnType::Uint16 => below(codes, u16::from_le_bytes, entries),
        ColumnType::Int32 => below(codes, u32::from_le_bytes, entries.min(1 << 31)),
        ColumnType::Uint32 => below(codes, u32::from_le_bytes, entries),
        ColumnType::Int64 => below(codes, u64::from_le_bytes, entries.min(1 << 63)),
        _ => below(codes, u64::from_le_bytes, entries),
    };
    if fine {
        return Ok(());
    }
    find_wrong_code(column_type, codes, entries, validity)
}

/// True if every number is below `end`. Bytes that make no whole number are left out.
fn below<T: Ord + Into<u64>, const N: usize>(
    codes: &[u8],
    number: fn([u8; N]) -> T,
    end: u64,
) -> bool {
    let (codes, _) = codes.as_chunks::<N>();
    let most = codes.iter().map(|code| number(*code)).max();
    most.is_none_or(|most| most.into() < end)
}

/// Looks at each code: Arrow does not define those of null rows, which may be anything.
fn find_wrong_code(
    column_type: &ColumnType,
    codes: &[u8],
    entries: u64,
    validity: &[u8],
) -> Result<(), ColumnError> {
    let code_at: fn(&[u8]) -> i128 = match column_type {
        ColumnType::Int8 => |b| fixed(b).map_or(-1, i8::from_le_bytes).into(),
        ColumnType::Uint8 => |b| fixed(b).map_or(0, u8::from_le_bytes).into(),
        ColumnType::Int16 => |b| fixed(b).map_or(-1, i16::from_le_bytes).into(),
        ColumnType::Uint16 => |b| fixed(b).map_or(0, u16::from_le_bytes).into(),
        ColumnType::Int32 => |b| fixed(b).map_or(-1, i32::from_le_bytes).into(),
        ColumnType::Uint32 => |b| fixed(b).map_or(0, u32::from_le_bytes).into(),
        ColumnType::Int64 => |b| fixed(b).map_or(-1, i64::from_le_bytes).into(),
        _ => |b| fixed(b).map_or(0, u64::from_le_bytes).into(),
    };
    let size = column_type.fixed_size().unwrap_or(1);
    for (row, bytes) in codes.chunks_exact(size).enumerate() {
        let code = code_at(bytes);
        let is_null = !validity.is_empty() && validity[row / 8] >> (row % 8) & 1 == 0;
        if !is_null && !(0..i128::from(entries)).contains(&code) {
            return Err(ColumnError::Code { row, code, entries });
        }
    }
    Ok(())
}

fn fixed<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::buffer::Buffer;
    use crate::model::column::{ColumnData, Dictionary};

    /// Checks codes of a type against a dictionary of `entries` values; `validity` is empty for none null.
    fn check(
        codes: ColumnType,
        entries: usize,
        bytes: Vec<u8>,
        validity: Vec<u8>,
    ) -> Result<(), ColumnError> {
        let values = vec![Buffer::default(), vec![0; entries].into()];
        let values = ColumnData::new(ColumnType::Int8, entries, values)?;
        let rows = bytes.len() / codes.fixed_size().unwrap_or(1);
        let data = ColumnData::new(codes, rows, vec![validity.into(), bytes.into()])?;
        data.with_dictionary(Dictionary::new(values))?
            .check_contents()
    }

    #[test]
    fn ones_are_counted_up_to_the_last_row() {
        let bits = [0xff; 20];
        for len in [0, 1, 7, 8, 9, 63, 64, 65, 150, 160] {
            assert_eq!(count_ones(&bits, len), len);
        }
    }

    #[test]
    fn a_code_is_below_the_number_of_entries_whatever_its_type() {
        use ColumnType as T;
        let ok = |kind: T, entries, bytes: &[u8]| check(kind, entries, bytes.into(), vec![]);
        let wrong = |row, code, entries| Err(ColumnError::Code { row, code, entries });
        for kind in [T::Int8, T::Uint8] {
            assert_eq!(ok(kind.clone(), 3, &[0, 1, 2, 2]), Ok(()));
            assert_eq!(ok(kind.clone(), 3, &[0, 3, 4]), wrong(1, 3, 3));
            assert_eq!(ok(kind.clone(), 0, &[0]), wrong(0, 0, 0));
            assert_eq!(ok(kind, 0, &[]), Ok(()));
        }
        // As an unsigned number it would be below the number of entries.
        assert_eq!(ok(T::Int8, 300, &[5, 255]), wrong(1, -1, 300));
        assert_eq!(ok(T::Uint8, 300, &[5, 255]), Ok(()));
        for (signed, unsigned, bytes) in [
            (T::Int16, T::Uint16, &(-1_i16).to_le_bytes()[..]),
            (T::Int32, T::Uint32, &(-1_i32).to_le_bytes()[..]),
            (T::Int64, T::Uint64, &(-1_i64).to_le_bytes()[..]),
        ] {
            let size = bytes.len();
            let mut three = vec![0; size];
            three[0] = 3;
            for kind in [&signed, &unsigned] {
                assert_eq!(ok(kind.clone(), 4, &three), Ok(()));
                assert_eq!(ok(kind.clone(), 3, &three), wrong(0, 3, 3));
            }
            assert_eq!(ok(signed, 70_000, bytes), wrong(0, -1, 70_000));
            let most = (1_i128 << (8 * size)) - 1;
            assert_eq!(ok(unsigned, 4, bytes), wrong(0, most, 4));
        }
    }

    #[test]
    fn the_code_of_a_null_row_may_be_anything() {
        let check = |bytes: &[u8]| check(ColumnType::Int8, 2, bytes.into(), vec![0b101]);
        assert_eq!(check(&[1, 99, 0]), Ok(()));
        assert_eq!(
            check(&[1, 99, 2]),
            Err(ColumnError::Code {
                row: 2,
                code: 2,
                entries: 2
            })
        );
    }
}
