use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::model::dtype::{Scalar, ScalarKind};

/// The type of a column's values, written as the Arrow C data interface writes it (`i`, `u`, `tsn:UTC`).
///
/// ```
/// use numpush_message::{ArrowTimeUnit, ColumnType};
///
/// let zoned: ColumnType = "tsn:America/New_York".parse()?;
/// let zone = Some("America/New_York".into());
/// assert_eq!(zoned, ColumnType::Timestamp(ArrowTimeUnit::Nano, zone));
/// assert_eq!(ColumnType::Int32.to_string(), "i");
/// assert_eq!(ColumnType::Int32.fixed_size(), Some(4));
/// # Ok::<_, numpush_message::ColumnTypeError>(())
/// ```
///
/// Source: [Arrow, the C data interface, format strings](https://arrow.apache.org/docs/format/CDataInterface.html).
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are Arrow's")]
pub enum ColumnType {
    Null,
    Bool,
    Int8,
    Uint8,
    Int16,
    Uint16,
    Int32,
    Uint32,
    Int64,
    Uint64,
    Float16,
    Float32,
    Float64,
    Utf8,
    LargeUtf8,
    Binary,
    LargeBinary,
    /// Digits in all (1 to 38), and digits after the point.
    Decimal128(u8, i8),
    Date32,
    Date64,
    Time(ArrowTimeUnit),
    /// Ticks since 1970; with a zone they count in UTC, and readers show them in that zone.
    Timestamp(ArrowTimeUnit, Option<Arc<str>>),
    Duration(ArrowTimeUnit),
}

/// Ticks of a time, timestamp or duration.
#[expect(clippy::exhaustive_enums, reason = "Arrow has these four")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are the documentation")]
pub enum ArrowTimeUnit {
    Second,
    Milli,
    Micro,
    Nano,
}

/// Where a column's values lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Storage {
    /// No buffer at all.
    Nothing,
    /// Validity, one bit a row.
    Bits,
    /// Validity, this number of bytes for each row.
    Fixed(usize),
    /// Validity, offsets of `offset` bytes each, data.
    Variable { offset: usize, text: bool },
}

impl Storage {
    /// Arrow buffers of such a column, validity included.
    pub(crate) fn buffers(self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Bits | Self::Fixed(_) => 2,
            Self::Variable { .. } => 3,
        }
    }
}

/// A column type that is not shipped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("column type {column_type:?} is not supported")]
pub struct ColumnTypeError {
    /// The type's format string.
    pub column_type: String,
}

impl ColumnType {
    pub(crate) fn storage(&self) -> Storage {
        match self {
            Self::Null => Storage::Nothing,
            Self::Bool => Storage::Bits,
            Self::Int8 | Self::Uint8 => Storage::Fixed(1),
            Self::Int16 | Self::Uint16 | Self::Float16 => Storage::Fixed(2),
            Self::Int32 | Self::Uint32 | Self::Float32 | Self::Date32 => Storage::Fixed(4),
            Self::Time(ArrowTimeUnit::Second | ArrowTimeUnit::Milli) => Storage::Fixed(4),
            Self::Int64 | Self::Uint64 | Self::Float64 | Self::Date64 => Storage::Fixed(8),
            Self::Time(_) | Self::Timestamp(..) | Self::Duration(_) => Storage::Fixed(8),
            Self::Decimal128(..) => Storage::Fixed(16),
            Self::Utf8 => Storage::Variable {
                offset: 4,
                text: true,
            },
            Self::LargeUtf8 => Storage::Variable {
                offset: 8,
                text: true,
            },
            Self::Binary => Storage::Variable {
                offset: 4,
                text: false,
            },
            Self::LargeBinary => Storage::Variable {
                offset: 8,
                text: false,
            },
        }
    }

    /// Bytes of one value, for types whose values have a fixed number of whole bytes.
    pub fn fixed_size(&self) -> Option<usize> {
        match self.storage() {
            Storage::Fixed(size) => Some(size),
            _ => None,
        }
    }

    /// The number that stands for a value in its buffer: the value itself, or the ticks of a date or time. `None` for
    /// types whose values are no numbers of whole bytes, and for decimals, which have 16 bytes.
    pub fn number(&self) -> Option<Scalar> {
        let kind = match self {
            Self::Uint8 | Self::Uint16 | Self::Uint32 | Self::Uint64 => ScalarKind::Uint,
            Self::Float16 | Self::Float32 | Self::Float64 => ScalarKind::Float,
            _ => ScalarKind::Int,
        };
        self.fixed_size()
            .filter(|&size| size <= 8)
            .map(|size| Scalar::native(kind, size))
    }

    /// True for the integers, which alone can be the codes of a dictionary.
    pub fn is_integer(&self) -> bool {
        matches!(
            self,
            Self::Int8
                | Self::Uint8
                | Self::Int16
                | Self::Uint16
                | Self::Int32
                | Self::Uint32
                | Self::Int64
                | Self::Uint64
        )
    }

    /// Checks that a reader takes what the fields say: a decimal has 1 to 38 digits, a zone a name.
    pub(crate) fn check(&self) -> Result<(), ColumnTypeError> {
        let is_known = match self {
            Self::Decimal128(digits, _) => matches!(digits, 1..=38),
            Self::Timestamp(_, zone) => zone.as_deref() != Some(""),
            _ => true,
        };
        if is_known {
            return Ok(());
        }
        Err(ColumnTypeError {
            column_type: self.to_string(),
        })
    }

    /// The type whose text is `text`, if it is one of a fixed set.
    pub(crate) fn plain(text: &[u8]) -> Option<Self> {
        // A match is faster than a table, and a frame has many columns.
        Some(match text {
            b"n" => Self::Null,
            b"b" => Self::Bool,
            b"c" => Self::Int8,
            b"C" => Self::Uint8,
            b"s" => Self::Int16,
            b"S" => Self::Uint16,
            b"i" => Self::Int32,
            b"I" => Self::Uint32,
            b"l" => Self::Int64,
            b"L" => Self::Uint64,
            b"e" => Self::Float16,
            b"f" => Self::Float32,
            b"g" => Self::Float64,
            b"u" => Self::Utf8,
            b"U" => Self::LargeUtf8,
            b"z" => Self::Binary,
            b"Z" => Self::LargeBinary,
            b"tdD" => Self::Date32,
            b"tdm" => Self::Date64,
            b"tts" => Self::Time(ArrowTimeUnit::Second),
            b"ttm" => Self::Time(ArrowTimeUnit::Milli),
            b"ttu" => Self::Time(ArrowTimeUnit::Micro),
            b"ttn" => Self::Time(ArrowTimeUnit::Nano),
            b"tDs" => Self::Duration(ArrowTimeUnit::Second),
            b"tDm" => Self::Duration(ArrowTimeUnit::Milli),
            b"tDu" => Self::Duration(ArrowTimeUnit::Micro),
            b"tDn" => Self::Duration(ArrowTimeUnit::Nano),
            _ => return None,
        })
    }

    /// The format string, if it is one of a fixed set.
    pub(crate) fn fixed_name(&self) -> Option<&'static str> {
        Some(match self {
            Self::Null => "n",
            Self::Bool => "b",
            Self::Int8 => "c",
            Self::Uint8 => "C",
            Self::Int16 => "s",
            Self::Uint16 => "S",
            Self::Int32 => "i",
            Self::Uint32 => "I",
            Self::Int64 => "l",
            Self::Uint64 => "L",
            Self::Float16 => "e",
            Self::Float32 => "f",
            Self::Float64 => "g",
            Self::Utf8 => "u",
            Self::LargeUtf8 => "U",
            Self::Binary => "z",
            Self::LargeBinary => "Z",
            Self::Date32 => "tdD",
            Self::Date64 => "tdm",
            Self::Time(ArrowTimeUnit::Second) => "tts",
            Self::Time(ArrowTimeUnit::Milli) => "ttm",
            Self::Time(ArrowTimeUnit::Micro) => "ttu",
            Self::Time(ArrowTimeUnit::Nano) => "ttn",
            Self::Duration(ArrowTimeUnit::Second) => "tDs",
            Self::Duration(ArrowTimeUnit::Milli) => "tDm",
            Self::Duration(ArrowTimeUnit::Micro) => "tDu",
            Self::Duration(ArrowTimeUnit::Nano) => "tDn",
            Self::Decimal128(..) | Self::Timestamp(..) => return None,
        })
    }

    fn parse(text: &str) -> Option<Self> {
        if let Some(rest) = text.strip_prefix("d:") {
            let (precision, scale) = rest.split_once(',')?;
            let decimal = Self::Decimal128(precision.parse().ok()?, scale.parse().ok()?);
            return decimal.check().is_ok().then_some(decimal);
        }
        let (unit, rest) = (text.get(..3)?, text.get(3..)?);
        let zone = match rest.strip_prefix(':')? {
            "" => None,
            zone => Some(zone.into()),
        };
        let unit = TIME_UNITS
            .iter()
            .find(|(code, _)| unit.strip_prefix("ts") == Some(code))?
            .1;
        Some(Self::Timestamp(unit, zone))
    }
}

const TIME_UNITS: [(&str, ArrowTimeUnit); 4] = [
    ("s", ArrowTimeUnit::Second),
    ("m", ArrowTimeUnit::Milli),
    ("u", ArrowTimeUnit::Micro),
    ("n", ArrowTimeUnit::Nano),
];

impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Decimal128(precision, scale) => write!(f, "d:{precision},{scale}"),
            Self::Timestamp(unit, zone) => {
                let code = TIME_UNITS
                    .iter()
                    .find(|(_, known)| known == unit)
                    .map_or("", |(code, _)| code);
                write!(f, "ts{code}:{}", zone.as_deref().unwrap_or(""))
            }
            plain => f.write_str(plain.fixed_name().unwrap_or("")),
        }
    }
}

impl FromStr for ColumnType {
    type Err = ColumnTypeError;

    fn from_str(text: &str) -> Result<Self, ColumnTypeError> {
        Self::plain(text.as_bytes())
            .or_else(|| Self::parse(text))
            .ok_or_else(|| ColumnTypeError {
                column_type: text.to_owned(),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_string_survives() {
        let others = [
            "d:10,2",
            "d:38,-3",
            "tss:",
            "tsn:America/New_York",
            "tsu:UTC",
            "tsm:+01:00",
        ];
        let plain = "n b c C s S i I l L e f g u U z Z tdD tdm tts ttm ttu ttn tDs tDm tDu tDn";
        for text in plain.split(' ').chain(others) {
            assert_eq!(
                text.parse::<ColumnType>().map(|f| f.to_string()),
                Ok(text.to_owned())
            );
        }
    }

    #[test]
    fn nested_and_unknown_types_are_refused_by_name() {
        for text in [
            "+l",
            "+s",
            "vu",
            "w:16",
            "d:39,2",
            "d:10,2,256",
            "tsx:",
            "tss",
            "tiM",
            "",
            "é",
        ] {
            assert_eq!(text.parse::<ColumnType>().unwrap_err().column_type, text);
        }
    }
}
