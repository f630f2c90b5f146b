//! What a frame's buffers must hold. The bytes may come from anybody.

use crate::model::buffer::Buffer;
use crate::model::column::{Column, ColumnData, Dictionary};
use crate::model::column_type::{ColumnType, Storage};
use crate::model::frame::Frame;
use crate::wire::error::{ColumnFault, DecodeError};

/// Everything: lengths and contents.
pub(crate) fn frame(frame: &Frame<'_>) -> Result<(), DecodeError> {
    lengths(frame)?;
    for column in &frame.columns {
        contents(&column.data).map_err(|fault| DecodeError::Column {
            column: column.name.clone(),
            fault,
        })?;
    }
    Ok(())
}

/// The number of buffers and the length of each, without looking into them.
pub(crate) fn lengths(frame: &Frame<'_>) -> Result<(), DecodeError> {
    let mut index = 0;
    frame.columns.iter().try_for_each(|column: &Column<'_>| {
        if column.data.len != frame.rows {
            let (found, expected) = (column.data.len as u64, frame.rows as u64);
            return Err(DecodeError::BufferLength {
                index,
                found,
                expected,
            });
        }
        data_lengths(&column.data, &mut index)
    })
}

fn data_lengths(data: &ColumnData<'_>, index: &mut usize) -> Result<(), DecodeError> {
    let (storage, len) = (data.format.storage(), data.len as u64);
    if data.buffers.len() != storage.buffers() {
        return Err(DecodeError::BufferCount {
            found: data.buffers.len(),
            expected: storage.buffers(),
        });
    }
    let mut want = |buffer: &Buffer<'_>, expected: Option<u64>| {
        let (at, found) = (*index, buffer.len() as u64);
        *index += 1;
        match expected {
            Some(expected) if expected == found => Ok(()),
            expected => Err(DecodeError::BufferLength {
                index: at,
                found,
                expected: expected.unwrap_or(u64::MAX),
            }),
        }
    };
    let nulls = if storage == Storage::Nothing {
        0
    } else {
        data.null_count
    };
    if nulls > data.len || (storage == Storage::Nothing && data.null_count != data.len) {
        return Err(DecodeError::OverLimit {
            what: "null count",
            value: data.null_count as u64,
            max: len,
        });
    }
    if let Some(validity) = data.buffers.first() {
        want(validity, Some(if nulls == 0 { 0 } else { len.div_ceil(8) }))?;
    }
    match (storage, &data.buffers[..]) {
        (Storage::Bits, [_, bits]) => want(bits, Some(len.div_ceil(8)))?,
        (Storage::Fixed(size), [_, values]) => want(values, len.checked_mul(size as u64))?,
        (Storage::Variable { offset, .. }, [_, offsets, values]) => {
            want(
                offsets,
                len.checked_add(1)
                    .and_then(|entries| entries.checked_mul(offset as u64)),
            )?;
            want(values, Some(values.len() as u64))?;
        }
        _ => {}
    }
    match &data.dictionary {
        Some(_) if !data.format.is_integer() => Err(DecodeError::Header {
            field: "dictionary",
            expected: "an integer type for the codes",
        }),
        Some(dictionary) => data_lengths(&dictionary.values, index),
        None => Ok(()),
    }
}

fn contents(data: &ColumnData<'_>) -> Result<(), ColumnFault> {
    let validity = data.buffers.first().map_or(&[][..], |bits| bits);
    if !validity.is_empty() {
        check_bit_padding(validity, data.len)?;
        let bitmap = data.len as u64 - count_ones(validity);
        if bitmap != data.null_count as u64 {
            return Err(ColumnFault::NullCount {
                bitmap,
                header: data.null_count as u64,
            });
        }
    }
    match (data.format.storage(), &data.buffers[..]) {
        (Storage::Bits, [_, bits]) => check_bit_padding(bits, data.len)?,
        (Storage::Variable { offset, text }, [_, offsets, values]) => {
            if offset == 4 {
                check_offsets::<4>(offsets, values, text)?;
            } else {
                check_offsets::<8>(offsets, values, text)?;
            }
        }
        _ => {}
    }
    match &data.dictionary {
        Some(dictionary) => {
            check_codes(data, dictionary, validity)?;
            contents(&dictionary.values)
        }
        None => Ok(()),
    }
}

fn count_ones(bits: &[u8]) -> u64 {
    let (words, rest) = bits.as_chunks::<8>();
    let words: u64 = words
        .iter()
        .map(|word| u64::from(u64::from_ne_bytes(*word).count_ones()))
        .sum();
    words
        + rest
            .iter()
            .map(|byte| u64::from(byte.count_ones()))
            .sum::<u64>()
}

fn check_bit_padding(bits: &[u8], rows: usize) -> Result<(), ColumnFault> {
    let used = rows % 8;
    match bits.last() {
        Some(last) if used != 0 && last >> used != 0 => Err(ColumnFault::BitPadding),
        _ => Ok(()),
    }
}

/// Offsets are signed and rise from zero to the data's length; text is UTF-8 and no offset cuts a character.
fn check_offsets<const N: usize>(
    offsets: &[u8],
    values: &[u8],
    text: bool,
) -> Result<(), ColumnFault> {
    let fault = |index| ColumnFault::Offsets {
        index,
        data: values.len() as u64,
    };
    let (entries, _) = offsets.as_chunks::<N>();
    let mut last = 0;
    // The common case is that all is well: look for the first fault only when one was seen.
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
    let text = simdutf8::basic::from_utf8(values).map_err(|_| ColumnFault::Utf8)?;
    let whole = |entry| usize::try_from(le_signed(entry)).is_ok_and(|at| text.is_char_boundary(at));
    if entries.iter().all(whole) {
        Ok(())
    } else {
        Err(ColumnFault::Utf8)
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
) -> Result<(), ColumnFault> {
    let codes: &[u8] = data.buffers.get(1).map_or(&[], |codes| codes);
    let entries = dictionary.values.len as u64;
    let code_at: fn(&[u8]) -> i128 = match data.format {
        ColumnType::Int8 => |b| fixed(b).map_or(-1, i8::from_le_bytes).into(),
        ColumnType::Uint8 => |b| fixed(b).map_or(0, u8::from_le_bytes).into(),
        ColumnType::Int16 => |b| fixed(b).map_or(-1, i16::from_le_bytes).into(),
        ColumnType::Uint16 => |b| fixed(b).map_or(0, u16::from_le_bytes).into(),
        ColumnType::Int32 => |b| fixed(b).map_or(-1, i32::from_le_bytes).into(),
        ColumnType::Uint32 => |b| fixed(b).map_or(0, u32::from_le_bytes).into(),
        ColumnType::Int64 => |b| fixed(b).map_or(-1, i64::from_le_bytes).into(),
        _ => |b| fixed(b).map_or(0, u64::from_le_bytes).into(),
    };
    let size = data.format.fixed_size().unwrap_or(1);
    for (row, bytes) in codes.chunks_exact(size).enumerate() {
        let code = code_at(bytes);
        // Arrow does not define the code of a null row.
        let is_null = !validity.is_empty() && validity[row / 8] >> (row % 8) & 1 == 0;
        if !is_null && !(0..i128::from(entries)).contains(&code) {
            return Err(ColumnFault::Code { row, code, entries });
        }
    }
    Ok(())
}

fn fixed<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.try_into().ok()
}
