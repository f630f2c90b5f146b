//! NumPy's array file. Source: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>.

use std::io::{Cursor, Read, Write};
use std::path::Path;

use numpush::model::{Dtype, Field, RecordType, Scalar};
use numpush::{Array, Message};

use crate::failure::Failure;
use crate::format::{Source, allocate, fault};

const MAGIC: &[u8; 6] = b"\x93NUMPY";

/// What the header of an npy file says.
pub(crate) struct Layout {
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    pub(crate) fortran: bool,
}

pub(super) fn read(path: &Path, source: Source) -> Result<Message<'static>, Failure> {
    match source {
        Source::File(mut file) => read_from(path, &mut file),
        Source::Memory(bytes) => read_from(path, &mut Cursor::new(bytes)),
    }
}

pub(super) fn read_from(path: &Path, from: &mut impl Read) -> Result<Message<'static>, Failure> {
    let layout = Layout::read(path, from)?;
    let item = layout.dtype.size();
    let len = layout
        .shape
        .iter()
        .try_fold(item, |len, &axis| len.checked_mul(axis));
    let Some(len) = len.filter(|&len| isize::try_from(len).is_ok()) else {
        return fault(path, format!("shape {:?} is too large", layout.shape));
    };
    let data = allocate(path, from, len)?;
    let array = if layout.fortran {
        let mut step = item.cast_signed();
        let mut strides = Vec::new();
        for &axis in &layout.shape {
            strides.push(step);
            step = step.saturating_mul(axis.cast_signed());
        }
        Array::with_strides(layout.dtype, &layout.shape, &strides, data)
    } else {
        Array::new(layout.dtype, &layout.shape, data)
    };
    Ok(Message::from(
        array.map_err(|error| Failure::Numpush(error.into()))?,
    ))
}

pub(super) fn write(
    path: &Path,
    message: &Message<'static>,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let Some(array) = message.as_array() else {
        let what = crate::ledger::describe(message);
        return fault(
            path,
            format!("{what} cannot be written there: take .parquet, .arrow, .csv or .np"),
        );
    };
    let fortran = array
        .strides()
        .is_some_and(|strides| is_fortran(array.shape(), strides, array.dtype().size()));
    let array = if fortran {
        array.clone()
    } else {
        array.clone().into_c_order_or_copy()
    };
    let shape: String = array.shape().iter().map(|len| format!("{len}, ")).collect();
    let order = if fortran { "True" } else { "False" };
    let descr = describe(array.dtype());
    let mut header = format!(
        "{{'descr': {descr}, 'fortran_order': {order}, 'shape': ({}), }}",
        shape.trim_end()
    );
    if array.shape().len() > 1 {
        header = header.replace(", ), }", "), }").replace(",), }", "), }");
    }
    // Version 2 has a four-byte length, for records with many fields.
    let (version, prefix) = if header.len() < 65_000 {
        (1, 10)
    } else {
        (2, 12)
    };
    let padding = (64 - (prefix + header.len() + 1) % 64) % 64;
    header.push_str(&" ".repeat(padding));
    header.push('\n');
    let mut head = Vec::from(*MAGIC);
    head.extend_from_slice(&[version, 0]);
    if version == 1 {
        head.extend_from_slice(
            &u16::try_from(header.len())
                .unwrap_or(u16::MAX)
                .to_le_bytes(),
        );
    } else {
        head.extend_from_slice(
            &u32::try_from(header.len())
                .unwrap_or(u32::MAX)
                .to_le_bytes(),
        );
    }
    head.extend_from_slice(header.as_bytes());
    let written = out
        .write_all(&head)
        .and_then(|()| out.write_all(array.data()));
    written.map_err(Failure::file(path, "cannot write"))
}

fn is_fortran(shape: &[usize], strides: &[isize], item: usize) -> bool {
    let mut step = item.cast_signed();
    shape.iter().zip(strides).all(|(&len, &stride)| {
        let matches = len == 1 || stride == step;
        step *= len.cast_signed();
        matches
    })
}

fn describe(dtype: &Dtype) -> String {
    let record = match dtype {
        Dtype::Record(record) => record,
        scalar => return format!("'{scalar}'"),
    };
    let mut fields: Vec<&Field> = record.fields().iter().collect();
    fields.sort_by_key(|field| field.offset);
    let (mut text, mut at) = (String::from("["), 0);
    let gap = |text: &mut String, bytes: usize| {
        if bytes > 0 {
            text.push_str(&format!("('', '|V{bytes}'), "));
        }
    };
    for field in fields {
        gap(&mut text, field.offset - at);
        text.push_str(&format!("({:?}, '{}'), ", field.name, field.scalar).replace('"', "'"));
        at = field.offset + field.scalar.size();
    }
    gap(&mut text, record.size() - at);
    text.push(']');
    text
}

impl Layout {
    /// Reads the header, up to where the data begin.
    pub(crate) fn read(path: &Path, from: &mut impl Read) -> Result<Self, Failure> {
        let short = "ends inside its header";
        let mut prefix = [0; 8];
        from.read_exact(&mut prefix)
            .map_err(Failure::file(path, short))?;
        if !prefix.starts_with(MAGIC) {
            return fault(path, "is no npy file: it does not begin with \\x93NUMPY");
        }
        let mut len = [0; 4];
        let bytes = if prefix[6] == 1 { 2 } else { 4 };
        from.read_exact(&mut len[..bytes])
            .map_err(Failure::file(path, short))?;
        let len = u32::from_le_bytes(len) as usize;
        if len > 1 << 20 {
            return fault(
                path,
                format!("header of {len} bytes is longer than the limit of 1048576"),
            );
        }
        let mut header = vec![0; len];
        from.read_exact(&mut header)
            .map_err(Failure::file(path, short))?;
        let text = String::from_utf8_lossy(&header);
        match Literal::parse(&text).and_then(|literal| Self::from_literal(&literal)) {
            Some(Ok(layout)) => Ok(layout),
            Some(Err(error)) => Err(Failure::Numpush(error.into())),
            None => fault(
                path,
                format!("has a header we cannot read: {}", text.trim()),
            ),
        }
    }

    fn from_literal(literal: &Literal) -> Option<Result<Self, numpush::model::DtypeError>> {
        let shape = literal
            .entry("shape")?
            .items()?
            .iter()
            .map(Literal::number)
            .collect::<Option<_>>()?;
        let fortran = matches!(literal.entry("fortran_order")?, Literal::True);
        let dtype = match literal.entry("descr")? {
            Literal::Text(typestr) => typestr.parse::<Scalar>().map(Dtype::from),
            fields => record(fields.items()?)?,
        };
        Some(dtype.map(|dtype| Self {
            dtype,
            shape,
            fortran,
        }))
    }
}

fn record(entries: &[Literal]) -> Option<Result<Dtype, numpush::model::DtypeError>> {
    let (mut fields, mut at) = (Vec::new(), 0);
    for entry in entries {
        let [Literal::Text(name), Literal::Text(typestr)] = entry.items()? else {
            // Nested records and sub-arrays.
            return Some(Err(numpush::model::DtypeError::Unsupported {
                typestr: format!("{entry:?}"),
            }));
        };
        if let Some(bytes) = typestr.strip_prefix("|V").filter(|_| name.is_empty()) {
            at += bytes.parse::<usize>().ok()?;
            continue;
        }
        match typestr.parse::<Scalar>() {
            Ok(scalar) => fields.push(Field::new(name, scalar, at)),
            Err(error) => return Some(Err(error)),
        }
        at += fields.last().map_or(0, |field| field.scalar.size());
    }
    Some(RecordType::new(fields, at).map(Dtype::from))
}

/// A Python literal, as far as npy headers have them.
#[derive(Debug, PartialEq)]
enum Literal {
    Text(String),
    Number(usize),
    True,
    False,
    /// A tuple or a list.
    Items(Vec<Self>),
    Map(Vec<(Self, Self)>),
}

impl Literal {
    fn parse(text: &str) -> Option<Self> {
        let mut rest = text;
        let literal = value(&mut rest, 0)?;
        rest.trim().is_empty().then_some(literal)
    }

    fn entry(&self, name: &str) -> Option<&Self> {
        let Self::Map(entries) = self else {
            return None;
        };
        entries
            .iter()
            .find(|(key, _)| *key == Self::Text(name.to_owned()))
            .map(|(_, value)| value)
    }

    fn items(&self) -> Option<&[Self]> {
        if let Self::Items(items) = self {
            Some(items)
        } else {
            None
        }
    }

    fn number(&self) -> Option<usize> {
        if let Self::Number(number) = self {
            Some(*number)
        } else {
            None
        }
    }
}

fn value(rest: &mut &str, depth: u8) -> Option<Literal> {
    *rest = rest.trim_start();
    let first = rest.chars().next()?;
    match first {
        _ if depth > 4 => None,
        '\'' | '"' => {
            let end = rest[1..].find(first)? + 1;
            let text = rest[1..end].to_owned();
            *rest = &rest[end + 1..];
            Some(Literal::Text(text))
        }
        '(' | '[' => sequence(rest, if first == '(' { ')' } else { ']' }, |rest| {
            value(rest, depth + 1)
        })
        .map(Literal::Items),
        '{' => {
            let pair = |rest: &mut &str| {
                let key = value(rest, depth + 1)?;
                *rest = rest.trim_start().strip_prefix(':')?;
                Some((key, value(rest, depth + 1)?))
            };
            sequence(rest, '}', pair).map(Literal::Map)
        }
        '0'..='9' => {
            let end = rest
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(rest.len());
            let number = rest[..end].parse().ok()?;
            // Python 2 wrote long integers with an L.
            let behind = &rest[end..];
            *rest = behind.strip_prefix('L').unwrap_or(behind);
            Some(Literal::Number(number))
        }
        _ => {
            let (literal, word) = if first == 'T' {
                (Literal::True, "True")
            } else {
                (Literal::False, "False")
            };
            *rest = rest.strip_prefix(word)?;
            Some(literal)
        }
    }
}

/// Items between an opening bracket and `close`, separated by commas.
fn sequence<T>(
    rest: &mut &str,
    close: char,
    item: impl Fn(&mut &str) -> Option<T>,
) -> Option<Vec<T>> {
    *rest = &rest[1..];
    let mut items = Vec::new();
    loop {
        *rest = rest.trim_start();
        if let Some(behind) = rest.strip_prefix(close) {
            *rest = behind;
            return Some(items);
        }
        items.push(item(rest)?);
        *rest = rest.trim_start();
        if let Some(behind) = rest.strip_prefix(',') {
            *rest = behind;
        } else if !rest.starts_with(close) {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(header: &str) -> Option<Result<Layout, numpush::model::DtypeError>> {
        Literal::parse(header).and_then(|literal| Layout::from_literal(&literal))
    }

    #[test]
    fn headers_numpy_writes_are_read() {
        let plain = layout("{'descr': '<f8', 'fortran_order': True, 'shape': (3, 4), }  \n")
            .unwrap()
            .unwrap();
        assert_eq!(
            (plain.dtype.to_string(), plain.shape, plain.fortran),
            ("<f8".into(), vec![3, 4], true)
        );
        let point = layout("{'descr': '|b1', 'fortran_order': False, 'shape': (), }")
            .unwrap()
            .unwrap();
        assert!(point.shape.is_empty());
        let record = "{'descr': [('x', '<f4'), ('', '|V4'), ('y', '<i8')], 'fortran_order': False, 'shape': (2,), }";
        assert_eq!(layout(record).unwrap().unwrap().dtype.size(), 16);
    }

    #[test]
    fn objects_and_nonsense_are_refused() {
        assert!(
            layout("{'descr': '|O', 'fortran_order': False, 'shape': (2,), }")
                .unwrap()
                .is_err()
        );
        for text in [
            "",
            "{",
            "[1, 2",
            "{'descr': '<f8'}",
            "{'shape': (-1,)}",
            "((((((((1))))))))",
            "os.system('x')",
        ] {
            assert!(layout(text).is_none(), "{text}");
        }
    }
}
