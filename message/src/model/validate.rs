//! Checks of the buffers of a column. The bytes may come from anybody.

use crate::model::column::{ColumnData, Dictionary, count_ones};
use crate::model::column_error::ColumnError;
use crate::model::column_type::{ColumnType, Storage};

/// Checks bitmaps, offsets, text and dictionary codes; the lengths were checked when `data` was made.
pub(crate) fn contents(data: &ColumnData<'_>) -> Result<(), ColumnError> {
    let validity = data.buffers().first().map_or(&[][..], |bits| bits);
    check_bit_padding(validity, data.len())?;
    let marked = match data.column_type().storage() {
        Storage::Nothing => data.len(),
        _ if validity.is_empty() => 0,
        _ => data.len() - count_ones(validity, data.len()),
    };
    if marked != data.null_count() {
        let claimed = data.null_count();
        return Err(ColumnError::NullCount { claimed, marked });
    }
    match (data.column_type().storage(), data.buffers()) {
        (Storage::Bits, [_, bits]) => check_bit_padding(bits, data.len())?,
        (Storage::Variable { offset, text }, [_, offsets, values]) => {
            if offset == 4 {
                check_offsets::<4>(offsets, values, text)?;
            } else {
                check_offsets::<8>(offsets, values, text)?;
            }
        }
        _ => {}
    }
    match data.dictionary() {
        Some(dictionary) => {
            check_codes(data, dictionary, validity)?;
            contents(dictionary.values())
        }
        None => Ok(()),
    }
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
    data: &ColumnData<'_>,
    dictionary: &Dictionary<'_>,
    validity: &[u8],
) -> Result<(), ColumnError> {
    let codes: &[u8] = data.buffers().get(1).map_or(&[], |codes| codes);
    let entries = dictionary.values().len() as u64;
    // As one pass over unsigned numbers, which the compiler makes a loop over vectors: a negative code is one from half of
    // the range on.
    let fine = match data.column_type() {
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
    find_wrong_code(data, codes, entries, validity)
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
    data: &ColumnData<'_>,
    codes: &[u8],
    entries: u64,
    validity: &[u8],
) -> Result<(), ColumnError> {
    let code_at: fn(&[u8]) -> i128 = match data.column_type() {
        ColumnType::Int8 => |b| fixed(b).map_or(-1, i8::from_le_bytes).into(),
        ColumnType::Uint8 => |b| fixed(b).map_or(0, u8::from_le_bytes).into(),
        ColumnType::Int16 => |b| fixed(b).map_or(-1, i16::from_le_bytes).into(),
        ColumnType::Uint16 => |b| fixed(b).map_or(0, u16::from_le_bytes).into(),
        ColumnType::Int32 => |b| fixed(b).map_or(-1, i32::from_le_bytes).into(),
        ColumnType::Uint32 => |b| fixed(b).map_or(0, u32::from_le_bytes).into(),
        ColumnType::Int64 => |b| fixed(b).map_or(-1, i64::from_le_bytes).into(),
        _ => |b| fixed(b).map_or(0, u64::from_le_bytes).into(),
    };
    let size = data.column_type().fixed_size().unwrap_or(1);
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
        contents(&data.with_dictionary(Dictionary::new(values))?)
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
