//! Views of columns while their frame is locked.

use bytemuck::Pod;
use numpush_message::{ColumnData, ColumnType};

use crate::error::Error;
use crate::frame::bitmap::{BitmapMut, bit, words};

/// A column of booleans, to write, with its validity. Each value is one bit.
#[derive(Debug)]
pub struct BoolColumnMut<'a> {
    pub(super) name: &'a str,
    pub(super) len: usize,
    pub(super) values: BitmapMut<'a>,
    pub(super) validity: Option<BitmapMut<'a>>,
}

impl BoolColumnMut<'_> {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True if it has no rows.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The value of `row`, or `None` if it is null.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn get(&self, row: usize) -> Option<bool> {
        assert!(row < self.len, "row {row} of {}", self.len);
        self.validity
            .as_ref()
            .is_none_or(|bits| bits.get(row))
            .then(|| self.values.get(row))
    }

    /// Sets `row` to a value, or to null.
    ///
    /// # Errors
    /// [`Error::Column`] for a null in a column without a validity bitmap, which was made without nulls.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn set(&mut self, row: usize, value: Option<bool>) -> Result<(), Error> {
        // Bits after the last row stay zero.
        assert!(row < self.len, "row {row} of {}", self.len);
        match &mut self.validity {
            Some(bits) => bits.set(row, value.is_some()),
            None if value.is_none() => return Err(no_bitmap(self.name)),
            None => {}
        }
        self.values.set(row, value.unwrap_or(false));
        Ok(())
    }
}

fn no_bitmap(name: &str) -> Error {
    let fault = "has no validity bitmap: it was made without nulls".into();
    Error::Column {
        name: name.into(),
        fault,
    }
}

/// A column of numbers, to write, with its validity.
#[derive(Debug)]
pub struct ColumnMut<'a, T> {
    pub(super) name: &'a str,
    pub(super) values: &'a mut [T],
    pub(super) validity: Option<&'a mut [u8]>,
}

impl<T: Pod> ColumnMut<'_, T> {
    /// The values; that of a null means nothing.
    pub fn values(&mut self) -> &mut [T] {
        self.values
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// True if it has no rows.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The value of `row`, or `None` if it is null.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn get(&self, row: usize) -> Option<T> {
        let value = self.values[row];
        self.is_valid(row).then_some(value)
    }

    fn is_valid(&self, row: usize) -> bool {
        self.validity.as_deref().is_none_or(|bits| bit(bits, row))
    }

    /// Sets `row` to a value, or to null.
    ///
    /// # Errors
    /// [`Error::Column`] for a null in a column without a validity bitmap, which was made without nulls.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn set(&mut self, row: usize, value: Option<T>) -> Result<(), Error> {
        match (&mut self.validity, value) {
            (Some(bits), value) => BitmapMut(bits).set(row, value.is_some()),
            (None, Some(_)) => {}
            (None, None) => return Err(no_bitmap(self.name)),
        }
        self.values[row] = value.unwrap_or_else(T::zeroed);
        Ok(())
    }

    /// Changes every value that is not null.
    pub fn update(&mut self, mut change: impl FnMut(&mut T)) {
        let Some(bits) = self.validity.as_deref() else {
            return self.values.iter_mut().for_each(change);
        };
        let rows = self.values.len();
        for (values, word) in self.values.chunks_mut(64).zip(words(bits, rows)) {
            let mut left = word;
            if word.count_ones() as usize == values.len() {
                values.iter_mut().for_each(&mut change);
                left = 0;
            }
            while left != 0 {
                change(&mut values[left.trailing_zeros() as usize]);
                left &= left - 1;
            }
        }
    }
}

/// A column of strings, or of a dictionary of strings, to read.
#[derive(Debug)]
pub struct StringColumn<'a> {
    data: ColumnData<'a>,
}

impl<'a> StringColumn<'a> {
    pub(super) fn new(name: &str, data: ColumnData<'a>) -> Result<Self, Error> {
        let strings = data
            .dictionary()
            .map_or(&data, |dictionary| dictionary.values());
        if !matches!(
            strings.column_type(),
            ColumnType::Utf8 | ColumnType::LargeUtf8
        ) {
            return Err(Error::Column {
                name: name.into(),
                fault: format!("is of {}, not of strings", strings.column_type()),
            });
        }
        Ok(Self { data })
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.data.len()
    }

    /// True if it has no rows.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// The string of `row`, or `None` if it is null or there is no such row.
    pub fn get(&self, row: usize) -> Option<&str> {
        if row >= self.data.len() || !is_valid(&self.data, row) {
            return None;
        }
        match self.data.dictionary() {
            Some(dictionary) => {
                let code = code(&self.data, row)?;
                let values = dictionary.values();
                (code < values.len() && is_valid(values, code)).then(|| text(values, code))?
            }
            None => text(&self.data, row),
        }
    }

    /// The strings of all rows; `None` for a null.
    pub fn iter(&self) -> impl Iterator<Item = Option<&str>> {
        (0..self.len()).map(|row| self.get(row))
    }
}

fn is_valid(data: &ColumnData<'_>, row: usize) -> bool {
    data.buffers()
        .first()
        .is_none_or(|bits| bits.is_empty() || bit(bits, row))
}

/// The code of `row`, an integer of any width.
fn code(data: &ColumnData<'_>, row: usize) -> Option<usize> {
    let size = data.column_type().fixed_size()?;
    let bytes = data.buffers().get(1)?.get(row * size..(row + 1) * size)?;
    let mut wide = [0; 8];
    wide.get_mut(..size)?.copy_from_slice(bytes);
    usize::try_from(u64::from_le_bytes(wide)).ok()
}

fn text<'d>(data: &'d ColumnData<'_>, row: usize) -> Option<&'d str> {
    let wide = *data.column_type() == ColumnType::LargeUtf8;
    let offset = |at: usize| {
        let offsets = data.buffers().get(1)?;
        if wide {
            let bytes = offsets.get(at * 8..at * 8 + 8)?;
            usize::try_from(u64::from_le_bytes(bytes.try_into().ok()?)).ok()
        } else {
            let bytes = offsets.get(at * 4..at * 4 + 4)?;
            usize::try_from(u32::from_le_bytes(bytes.try_into().ok()?)).ok()
        }
    };
    let (start, end) = (offset(row)?, offset(row + 1)?);
    std::str::from_utf8(data.buffers().get(2)?.get(start..end)?).ok()
}
