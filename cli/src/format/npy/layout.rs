//! The header of an npy file.

use std::io::{Read, Write};
use std::path::Path;

use numpush::Array;
use numpush::model::{Dtype, DtypeError, Field, RecordType, Scalar};

use super::literal::{Literal, quote};
use crate::failure::Failure;

const MAGIC: &[u8; 6] = b"\x93NUMPY";

/// Longest header that is read, in bytes.
const MAX_HEADER: usize = 1 << 20;

/// What the header of an npy file says.
pub(crate) struct Layout {
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    pub(crate) fortran: bool,
    /// Where the data begin in the file.
    pub(crate) start: usize,
}

impl Layout {
    /// Reads the header, up to where the data begin.
    pub(crate) fn read(path: &Path, from: &mut impl Read) -> Result<Self, Failure> {
        let short = "ends inside its header";
        let mut prefix = [0; 8];
        from.read_exact(&mut prefix)
            .map_err(Failure::file(path, short))?;
        if !prefix.starts_with(MAGIC) {
            return Err(Failure::data(
                path,
                "is no npy file: it does not begin with \\x93NUMPY",
            ));
        }
        let version = prefix[6];
        let mut len = [0; 4];
        let width = if version == 1 { 2 } else { 4 };
        from.read_exact(&mut len[..width])
            .map_err(Failure::file(path, short))?;
        let len = u32::from_le_bytes(len) as usize;
        if len > MAX_HEADER {
            let fault = format!("header of {len} bytes is longer than the limit of {MAX_HEADER}");
            return Err(Failure::data(path, fault));
        }
        let mut header = vec![0; len];
        from.read_exact(&mut header)
            .map_err(Failure::file(path, short))?;
        let text = decode(version, &header).ok_or_else(|| {
            Failure::data(
                path,
                format!("has a header of version {version} that is not UTF-8"),
            )
        })?;
        match Literal::parse(&text).and_then(|literal| Self::from_literal(&literal)) {
            Some(Ok(layout)) => Ok(Self {
                start: prefix.len() + width + len,
                ..layout
            }),
            Some(Err(error)) => Err(Failure::file(path, "cannot be sent")(error)),
            None => {
                let fault = format!("has a header that is not understood: {}", text.trim());
                Err(Failure::data(path, fault))
            }
        }
    }

    /// Bytes of the data, unless they are more than memory has addresses for.
    pub(crate) fn data_len(&self) -> Option<usize> {
        self.shape
            .iter()
            .try_fold(self.dtype.size(), |len, &axis| len.checked_mul(axis))
            .filter(|&len| isize::try_from(len).is_ok())
    }

    pub(super) fn from_literal(literal: &Literal) -> Option<Result<Self, DtypeError>> {
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
            start: 0,
        }))
    }
}

/// The text of a header: versions 1 and 2 are Latin-1, version 3 is UTF-8.
fn decode(version: u8, header: &[u8]) -> Option<String> {
    if version < 3 {
        return Some(header.iter().map(|&byte| char::from(byte)).collect());
    }
    String::from_utf8(header.to_owned()).ok()
}

/// The bytes of a header and its version. As NumPy does, version 3 is for names that are not Latin-1.
fn encode(header: String) -> (u8, Vec<u8>) {
    let latin: Option<Vec<u8>> = header.chars().map(|c| u8::try_from(c).ok()).collect();
    match latin {
        None => (3, header.into_bytes()),
        // Version 2 has a length of four bytes, for records with many fields.
        Some(bytes) if bytes.len() >= 65_000 => (2, bytes),
        Some(bytes) => (1, bytes),
    }
}

/// Writes the header of an array, padded so that the data begin at a multiple of 64.
pub(super) fn write(array: &Array<'_>, fortran: bool, out: &mut impl Write) -> std::io::Result<()> {
    let shape = match array.shape() {
        [one] => format!("({one},)"),
        many => {
            let lens: Vec<String> = many.iter().map(ToString::to_string).collect();
            format!("({})", lens.join(", "))
        }
    };
    let order = if fortran { "True" } else { "False" };
    let descr = describe(array.dtype());
    let header = format!("{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}");
    let (version, mut header) = encode(header);
    let prefix = if version == 1 { 10 } else { 12 };
    let padding = (64 - (prefix + header.len() + 1) % 64) % 64;
    header.resize(header.len() + padding, b' ');
    header.push(b'\n');
    let mut head = Vec::from(*MAGIC);
    head.extend_from_slice(&[version, 0]);
    let len = u32::try_from(header.len()).map_err(|_| std::io::ErrorKind::FileTooLarge)?;
    head.extend_from_slice(&len.to_le_bytes()[..prefix - 8]);
    head.extend_from_slice(&header);
    out.write_all(&head)
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
        text.push_str(&format!("({}, '{}'), ", quote(&field.name), field.scalar));
        at = field.offset + field.scalar.size();
    }
    gap(&mut text, record.size() - at);
    text.push(']');
    text
}

fn record(entries: &[Literal]) -> Option<Result<Dtype, DtypeError>> {
    let (mut fields, mut at) = (Vec::new(), 0_usize);
    for entry in entries {
        let items = entry.items()?;
        let [Literal::Text(name), Literal::Text(typestr)] = items else {
            // Nested records and sub-arrays.
            let name = match items.first() {
                Some(Literal::Text(name)) => name.as_str(),
                _ => "",
            };
            let typestr = format!("record or array of field {name}");
            return Some(Err(DtypeError::Unsupported { typestr }));
        };
        if let Some(bytes) = typestr.strip_prefix("|V").filter(|_| name.is_empty()) {
            at = at.checked_add(bytes.parse().ok()?)?;
            continue;
        }
        let scalar = match typestr.parse::<Scalar>() {
            Ok(scalar) => scalar,
            Err(error) => return Some(Err(error)),
        };
        fields.push(Field::new(name.as_str(), scalar, at));
        at = at.checked_add(scalar.size())?;
    }
    Some(RecordType::new(fields, at).map(Dtype::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(header: &str) -> Option<Result<Layout, DtypeError>> {
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

    #[test]
    fn sizes_that_overflow_are_refused() {
        let gap = usize::MAX;
        let text = format!(
            "{{'descr': [('', '|V{gap}'), ('x', '<f4')], 'fortran_order': False, 'shape': (2,), }}"
        );
        assert!(layout(&text).is_none());
        let huge = format!("{{'descr': '<f8', 'fortran_order': False, 'shape': ({gap}, 2), }}");
        assert_eq!(layout(&huge).unwrap().unwrap().data_len(), None);
    }

    #[test]
    fn names_outside_ascii_keep_their_letters() {
        for (name, version) in [("x", 1), ("it's \"x\"", 1), ("ü", 1), ("日本", 3)] {
            let field =
                |name: &str, offset| Field::new(name, "<f4".parse::<Scalar>().unwrap(), offset);
            let record = RecordType::new(vec![field(name, 0)], 4).unwrap();
            let array = Array::new(Dtype::from(record), &[2], vec![0; 8].into()).unwrap();
            let mut bytes = Vec::new();
            write(&array, false, &mut bytes).unwrap();
            assert_eq!((bytes[6], bytes.len() % 64), (version, 0), "{name}");
            let layout = Layout::read(Path::new("x.npy"), &mut bytes.as_slice()).unwrap();
            assert_eq!(
                (&layout.dtype, layout.start),
                (array.dtype(), bytes.len()),
                "{name}"
            );
        }
    }
}
