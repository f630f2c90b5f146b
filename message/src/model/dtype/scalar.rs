use std::fmt;
use std::str::FromStr;

use crate::model::dtype::error::DtypeError;

const MAX_SIZE: usize = 1 << 20;

/// The type of one value: its kind, size and byte order.
///
/// Made from a type string of NumPy's, or taken from a Rust type ([`Element::SCALAR`](crate::model::Element::SCALAR)).
///
/// ```
/// use numpush_message::{ByteOrder, Scalar, ScalarKind};
///
/// let scalar: Scalar = ">f8".parse()?;
/// assert_eq!(scalar.kind(), ScalarKind::Float);
/// assert_eq!(scalar.size(), 8);
/// assert_eq!(scalar.order(), ByteOrder::Big);
/// assert_eq!(scalar.to_string(), ">f8");
/// # Ok::<_, numpush_message::DtypeError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Scalar {
    kind: ScalarKind,
    size: usize,
    order: ByteOrder,
    unit: Option<(u32, TimeUnit)>,
}

/// What a value means, by NumPy's one-letter code.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ScalarKind {
    /// `b`, one byte, 0 or 1.
    Bool,
    /// `i`, 1 to 8 bytes.
    Int,
    /// `u`, 1 to 8 bytes.
    Uint,
    /// `f`, 2 to 8 bytes.
    Float,
    /// `c`, 8 or 16 bytes.
    Complex,
    /// `S`, bytes of fixed length.
    Bytes,
    /// `U`, UCS-4 text of fixed length.
    Text,
    /// `M`, 8 bytes.
    Datetime,
    /// `m`, 8 bytes.
    Timedelta,
}

/// Order of the bytes of a number.
#[expect(
    clippy::exhaustive_enums,
    reason = "there is no fourth way to order the bytes of a number"
)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ByteOrder {
    /// `|`: single bytes have none.
    None,
    /// `<`
    Little,
    /// `>`
    Big,
}

impl ByteOrder {
    /// The order of this machine.
    pub const NATIVE: Self = if cfg!(target_endian = "little") {
        Self::Little
    } else {
        Self::Big
    };

    /// True if this machine computes with the bytes as they are.
    pub fn is_native(self) -> bool {
        self == Self::None || self == Self::NATIVE
    }
}

/// Unit of a datetime or timedelta, by NumPy's code.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are the documentation")]
pub enum TimeUnit {
    Year,
    Month,
    Week,
    Day,
    Hour,
    Minute,
    Second,
    Milli,
    Micro,
    Nano,
    Pico,
    Femto,
    Atto,
}

const UNITS: [(&str, TimeUnit); 13] = [
    ("Y", TimeUnit::Year),
    ("M", TimeUnit::Month),
    ("W", TimeUnit::Week),
    ("D", TimeUnit::Day),
    ("h", TimeUnit::Hour),
    ("m", TimeUnit::Minute),
    ("s", TimeUnit::Second),
    ("ms", TimeUnit::Milli),
    ("us", TimeUnit::Micro),
    ("ns", TimeUnit::Nano),
    ("ps", TimeUnit::Pico),
    ("fs", TimeUnit::Femto),
    ("as", TimeUnit::Atto),
];

impl Scalar {
    /// Largest element in bytes (a string of fixed length or a record).
    pub const MAX_SIZE: usize = MAX_SIZE;

    /// What the value means.
    pub fn kind(&self) -> ScalarKind {
        self.kind
    }

    /// Bytes of one value.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Byte order of a number or of a character of text.
    pub fn order(&self) -> ByteOrder {
        self.order
    }

    /// Multiple and unit of a datetime or timedelta; `None` for the generic unit and for every other kind.
    pub fn unit(&self) -> Option<(u32, TimeUnit)> {
        self.unit
    }

    /// A number of `size` bytes in this machine's byte order.
    pub(crate) const fn native(kind: ScalarKind, size: usize) -> Self {
        let order = if size == 1 {
            ByteOrder::None
        } else {
            ByteOrder::NATIVE
        };
        Self {
            kind,
            size,
            order,
            unit: None,
        }
    }

    fn parse(typestr: &str) -> Option<Self> {
        let (order, rest) = match typestr.as_bytes().first()? {
            b'<' => (ByteOrder::Little, &typestr[1..]),
            b'>' => (ByteOrder::Big, &typestr[1..]),
            b'|' => (ByteOrder::None, &typestr[1..]),
            _ => return None,
        };
        let code = rest.chars().next()?;
        let rest = rest.get(1..)?;
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (count, unit) = (decimal(&rest[..digits])?, &rest[digits..]);
        let (kind, size) = match (code, count) {
            ('b', 1) => (ScalarKind::Bool, 1),
            ('i', 1 | 2 | 4 | 8) => (ScalarKind::Int, count),
            ('u', 1 | 2 | 4 | 8) => (ScalarKind::Uint, count),
            ('f', 2 | 4 | 8) => (ScalarKind::Float, count),
            ('c', 8 | 16) => (ScalarKind::Complex, count),
            ('S', 1..=MAX_SIZE) => (ScalarKind::Bytes, count),
            ('U', 1..=MAX_SIZE) if count * 4 <= MAX_SIZE => (ScalarKind::Text, count * 4),
            ('M', 8) => (ScalarKind::Datetime, 8),
            ('m', 8) => (ScalarKind::Timedelta, 8),
            _ => return None,
        };
        let single = size == 1 || kind == ScalarKind::Bytes;
        let unit = match (kind, unit) {
            (_, "") => None,
            (ScalarKind::Datetime | ScalarKind::Timedelta, unit) => Some(parse_unit(unit)?),
            _ => return None,
        };
        (single == (order == ByteOrder::None)).then_some(Self {
            kind,
            size,
            order,
            unit,
        })
    }
}

fn parse_unit(text: &str) -> Option<(u32, TimeUnit)> {
    let text = text.strip_prefix('[')?.strip_suffix(']')?;
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let multiple = if digits == 0 {
        1
    } else {
        decimal(&text[..digits])?
    };
    let unit = UNITS.iter().find(|(name, _)| *name == &text[digits..])?.1;
    // NumPy writes a multiple of one without the digit, and so the canonical form does.
    (multiple > 1 || digits == 0).then_some((u32::try_from(multiple).ok()?, unit))
}

/// A decimal number without sign or leading zero.
fn decimal(text: &str) -> Option<usize> {
    if text.starts_with('0') || text.len() > 9 {
        return None;
    }
    text.parse().ok()
}

/// A type string.
#[derive(Default)]
pub(crate) struct TypeText {
    bytes: [u8; Self::MOST],
    len: usize,
}

impl TypeText {
    /// Bytes of the longest type string: `<M8[4294967295ns]`, and some more.
    const MOST: usize = 24;

    pub(crate) fn as_str(&self) -> &str {
        let written = self.bytes.get(..self.len);
        written.map_or("", |text| std::str::from_utf8(text).unwrap_or(""))
    }

    fn push(&mut self, text: &str) {
        let end = self.len + text.len();
        if let Some(place) = self.bytes.get_mut(self.len..end) {
            place.copy_from_slice(text.as_bytes());
            self.len = end;
        }
    }

    fn push_number(&mut self, number: usize) {
        if number > 9 {
            self.push_number(number / 10);
        }
        let digit = number % 10;
        self.push(&"0123456789"[digit..=digit]);
    }
}

impl Scalar {
    /// Its type string, without an allocation.
    pub(crate) fn text(&self) -> TypeText {
        let mut text = TypeText::default();
        text.push(match self.order {
            ByteOrder::None => "|",
            ByteOrder::Little => "<",
            ByteOrder::Big => ">",
        });
        let (code, count) = match self.kind {
            ScalarKind::Bool => ("b", self.size),
            ScalarKind::Int => ("i", self.size),
            ScalarKind::Uint => ("u", self.size),
            ScalarKind::Float => ("f", self.size),
            ScalarKind::Complex => ("c", self.size),
            ScalarKind::Bytes => ("S", self.size),
            ScalarKind::Text => ("U", self.size / 4),
            ScalarKind::Datetime => ("M", self.size),
            ScalarKind::Timedelta => ("m", self.size),
        };
        text.push(code);
        text.push_number(count);
        let Some((multiple, unit)) = self.unit else {
            return text;
        };
        let known = UNITS.iter().find(|(_, known)| *known == unit);
        text.push("[");
        if multiple != 1 {
            text.push_number(multiple as usize);
        }
        text.push(known.map_or("", |(name, _)| name));
        text.push("]");
        text
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text().as_str())
    }
}

impl FromStr for Scalar {
    type Err = DtypeError;

    fn from_str(typestr: &str) -> Result<Self, DtypeError> {
        // Kinds of NumPy we know and refuse: an object is a pointer, and pickle is the only way to follow it.
        if typestr.contains('O') {
            return Err(DtypeError::Object {
                typestr: typestr.to_owned(),
            });
        }
        Self::parse(typestr).ok_or_else(|| DtypeError::Unsupported {
            typestr: typestr.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_string_survives() {
        let plain = "|b1 |i1 |u1 <i2 >i2 <u2 <i4 <u4 <i8 >u8 <f2 <f4 >f4 <f8 <c8 <c16 >c16 |S1 |S5 |S300 <U3 >U3";
        let times = "<M8 <M8[ns] >M8[D] <m8[us] <M8[25s] <m8 <m8[as] <M8[Y] <M8[M] <m8[m]";
        for text in plain.split(' ').chain(times.split(' ')) {
            assert_eq!(
                text.parse::<Scalar>().map(|s| s.to_string()),
                Ok(text.to_owned())
            );
        }
    }

    #[test]
    fn other_type_strings_are_refused() {
        for text in
            "f8 =f8 |f8 <b1 <f16 <f3 |S0 <S5 |U3 <U0 <f08 <f8[s] <M8[1s] <M8[0s] <M8[x] <M4[s] |V8 <i é < |"
                .split(' ')
        {
            let error = text.parse::<Scalar>().unwrap_err();
            assert!(matches!(error, DtypeError::Unsupported { .. }), "{text}");
        }
        assert!(matches!(
            "|O".parse::<Scalar>(),
            Err(DtypeError::Object { .. })
        ));
        assert!("|U99999999".parse::<Scalar>().is_err());
    }
}
