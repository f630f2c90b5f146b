//! The first record of each side of a session.

use std::ops::RangeInclusive;

use crate::model::name::check_name;
use crate::wire::error::DecodeError;
use crate::wire::kind::RecordKind;
use crate::wire::limits::Limits;
use crate::wire::msgpack::{Keys, Reader, Writer};
use crate::wire::preamble::{PREAMBLE_LEN, Preamble, VERSION};

/// What a side takes, and who it is: the first record of each side of a session.
///
/// ```
/// use numpush_message::{Hello, PREAMBLE_LEN, Preamble};
///
/// let mut ours = Hello::new(1 << 30);
/// ours.segments = 64;
/// let record = ours.encode();
///
/// let (first, rest) = record.split_first_chunk::<PREAMBLE_LEN>().unwrap();
/// let preamble = Preamble::decode(first)?;
/// let theirs = Hello::decode(&preamble, &rest[..preamble.header_len as usize])?;
/// assert_eq!(theirs, ours);
/// assert_eq!(theirs.common_version(&ours), Some(1));
/// # Ok::<_, numpush_message::DecodeError>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// It wants checksums on what it receives. Default: false.
    pub checksums: bool,
    /// Codecs of compressed payloads that it takes. Default: none.
    pub codecs: Vec<String>,
    /// Bytes of records that may be sent to it before it gives credit back. Default: 65,536.
    pub credit: u64,
    /// Descriptors that it holds at once. Default: 0.
    pub descriptors: u32,
    /// Longest header in bytes that it takes. Default: [`Limits::HEADER`].
    pub header: u32,
    /// Where it runs: equal texts are the same boot of a machine and the same namespaces. Default: empty, unknown.
    pub host: String,
    /// Largest payload of a message in bytes that it takes.
    pub max: u64,
    /// Name of the program, for people. Default: empty.
    pub name: String,
    /// It takes parts of messages. Default: false.
    pub parts: bool,
    /// What it is, across all of its connections. Default: unknown.
    pub peer: Option<[u8; 16]>,
    /// Schemas that it keeps, and bytes of header that they may have in all. Default: none.
    pub schemas: Option<(u32, u64)>,
    /// Segments that it keeps mapped. Default: 0, it takes no references.
    pub segments: u32,
    /// Versions of the wire format that it reads and writes.
    pub versions: RangeInclusive<u8>,
}

const CHECKSUMS: &str = "checksums";
const CODECS: &str = "codecs";
const CREDIT: &str = "credit";
const DESCRIPTORS: &str = "descriptors";
const HEADER: &str = "header";
const HOST: &str = "host";
const MAX: &str = "max";
const NAME: &str = "name";
const PARTS: &str = "parts";
const PEER: &str = "peer";
const SCHEMAS: &str = "schemas";
const SEGMENTS: &str = "segments";
const VERSIONS: &str = "versions";

impl Hello {
    /// Most bytes of [`Self::name`] and of [`Self::host`].
    pub const MAX_TEXT_LEN: usize = 255;

    /// Most [`Self::codecs`], each of at most 32 bytes.
    pub const MAX_CODECS: usize = 16;

    const MAX_CODEC_LEN: usize = 32;
    const DEFAULT_CREDIT: u64 = 65_536;
    #[expect(clippy::cast_possible_truncation, reason = "8 MiB")]
    const DEFAULT_HEADER: u32 = Limits::HEADER as u32;

    /// The hello of a side that takes payloads of at most `max` bytes, and whose other fields have their defaults.
    pub fn new(max: u64) -> Self {
        Self {
            checksums: false,
            codecs: Vec::new(),
            credit: Self::DEFAULT_CREDIT,
            descriptors: 0,
            header: Self::DEFAULT_HEADER,
            host: String::new(),
            max,
            name: String::new(),
            parts: false,
            peer: None,
            schemas: None,
            segments: 0,
            versions: VERSION..=VERSION,
        }
    }

    /// The version of the records that follow both hellos: the lower of the two highest. `None` if one side does not
    /// have it.
    pub fn common_version(&self, other: &Self) -> Option<u8> {
        let version = *self.versions.end().min(other.versions.end());
        let both = self.versions.contains(&version) && other.versions.contains(&version);
        both.then_some(version)
    }

    /// The bytes of the whole record. Names and texts that are too long are cut at a character.
    pub fn encode(&self) -> Vec<u8> {
        let body = self.body();
        let preamble = Preamble {
            header_len: u32::try_from(body.len()).unwrap_or(u32::MAX),
            ..Preamble::control(RecordKind::Hello, 0, 0)
        };
        let mut record = Vec::with_capacity(PREAMBLE_LEN + preamble.head_len());
        record.extend_from_slice(&preamble.encode(&body));
        record.extend_from_slice(&body);
        record.resize(PREAMBLE_LEN + preamble.head_len(), 0);
        record
    }

    fn body(&self) -> Vec<u8> {
        let host = cut(&self.host, Self::MAX_TEXT_LEN);
        let name = cut(&self.name, Self::MAX_TEXT_LEN);
        let codecs = || self.codecs.iter().take(Self::MAX_CODECS);
        let is_written = [
            (CHECKSUMS, self.checksums),
            (CODECS, !self.codecs.is_empty()),
            (CREDIT, self.credit != Self::DEFAULT_CREDIT),
            (DESCRIPTORS, self.descriptors != 0),
            (HEADER, self.header != Self::DEFAULT_HEADER),
            (HOST, !host.is_empty()),
            (MAX, true),
            (NAME, !name.is_empty()),
            (PARTS, self.parts),
            (PEER, self.peer.is_some()),
            (SCHEMAS, self.schemas.is_some()),
            (SEGMENTS, self.segments != 0),
            (VERSIONS, true),
        ];
        let keys = is_written.into_iter().filter(|(_, is_written)| *is_written);
        let mut out = Writer::after(Vec::new());
        out.map(keys.clone().count());
        for (key, _) in keys {
            out.text(key);
            match key {
                CREDIT => out.uint(self.credit),
                CODECS => {
                    out.array(codecs().count());
                    codecs().for_each(|codec| out.text(cut(codec, Self::MAX_CODEC_LEN)));
                }
                DESCRIPTORS => out.uint(self.descriptors.into()),
                HEADER => out.uint(self.header.into()),
                HOST => out.text(host),
                MAX => out.uint(self.max),
                NAME => out.text(name),
                PEER => out.text(&hex(self.peer.unwrap_or_default())),
                SCHEMAS => {
                    let (count, bytes) = self.schemas.unwrap_or_default();
                    out.array(2);
                    out.uint(count.into());
                    out.uint(bytes);
                }
                SEGMENTS => out.uint(self.segments.into()),
                VERSIONS => {
                    out.array(2);
                    out.uint((*self.versions.start()).into());
                    out.uint((*self.versions.end()).into());
                }
                // CHECKSUMS and PARTS are written only if they are true.
                _ => out.uint(1),
            }
        }
        out.finish()
    }

    /// Reads the body of a record whose preamble is `preamble`, without the zeros after it.
    ///
    /// # Errors
    /// [`DecodeError::UnknownKind`] if the record is no hello; [`DecodeError`] if the body is not in canonical form, if
    /// a key is unknown and not ancillary, or if a value is out of its bounds.
    pub fn decode(preamble: &Preamble, body: &[u8]) -> Result<Self, DecodeError> {
        if preamble.kind != RecordKind::Hello {
            return Err(DecodeError::UnknownKind {
                kind: preamble.kind.to_wire(),
            });
        }
        let mut input = Reader::new(body);
        let mut keys = Keys::begin(&mut input, "hello")?;
        let mut hello = Self::new(0);
        let (mut max, mut versions) = (None, None);
        while let Some(key) = keys.next(&mut input)? {
            match key {
                CHECKSUMS => hello.checksums = offered(&mut input, CHECKSUMS)?,
                CODECS => hello.codecs = codecs(&mut input)?,
                CREDIT => hello.credit = not(Self::DEFAULT_CREDIT, input.uint(CREDIT)?)?,
                DESCRIPTORS => hello.descriptors = not(0, input.uint32(DESCRIPTORS)?)?,
                HEADER => hello.header = not(Self::DEFAULT_HEADER, input.uint32(HEADER)?)?,
                HOST => hello.host = text(&mut input, HOST, Self::MAX_TEXT_LEN)?,
                MAX => max = Some(input.uint(MAX)?),
                NAME => hello.name = text(&mut input, NAME, Self::MAX_TEXT_LEN)?,
                PARTS => hello.parts = offered(&mut input, PARTS)?,
                PEER => hello.peer = Some(identity(input.text(PEER)?)?),
                SCHEMAS => hello.schemas = Some(schemas(&mut input)?),
                SEGMENTS => hello.segments = not(0, input.uint32(SEGMENTS)?)?,
                VERSIONS => versions = Some(range(&mut input)?),
                _ => return Err(fault("key of hello", "a key of this version")),
            }
        }
        if !input.is_at_end() {
            return Err(DecodeError::NotCanonical);
        }
        hello.max = max.ok_or_else(|| fault("hello", "the key max"))?;
        hello.versions = versions.ok_or_else(|| fault("hello", "the key versions"))?;
        Ok(hello)
    }
}

fn fault(field: &'static str, expected: &'static str) -> DecodeError {
    DecodeError::Header { field, expected }
}

/// The value, which is left out if it is the default.
fn not<T: PartialEq>(default: T, value: T) -> Result<T, DecodeError> {
    if value == default {
        Err(DecodeError::NotCanonical)
    } else {
        Ok(value)
    }
}

fn offered(input: &mut Reader<'_>, key: &'static str) -> Result<bool, DecodeError> {
    match input.uint(key)? {
        0 => Err(DecodeError::NotCanonical),
        1 => Ok(true),
        _ => Err(fault(key, "0 or 1")),
    }
}

fn text(input: &mut Reader<'_>, key: &'static str, max: usize) -> Result<String, DecodeError> {
    let text = input.text(key)?;
    DecodeError::within(key, text.len(), max)?;
    check_name(text)?;
    not("", text).map(str::to_owned)
}

fn codecs(input: &mut Reader<'_>) -> Result<Vec<String>, DecodeError> {
    let count = input.array(CODECS)?;
    DecodeError::within(CODECS, count, Hello::MAX_CODECS)?;
    not(0, count)?;
    (0..count)
        .map(|_| text(input, "codec", Hello::MAX_CODEC_LEN))
        .collect()
}

fn schemas(input: &mut Reader<'_>) -> Result<(u32, u64), DecodeError> {
    if input.array(SCHEMAS)? != 2 {
        return Err(fault(SCHEMAS, "a count and a number of bytes"));
    }
    Ok((
        input.uint32("count of schemas")?,
        input.uint("bytes of schemas")?,
    ))
}

fn range(input: &mut Reader<'_>) -> Result<RangeInclusive<u8>, DecodeError> {
    if input.array(VERSIONS)? != 2 {
        return Err(fault(VERSIONS, "the lowest and the highest"));
    }
    let mut version = || u8::try_from(input.uint(VERSIONS)?).map_err(|_| fault(VERSIONS, "a byte"));
    let (min, max) = (version()?, version()?);
    if min == 0 || min > max {
        return Err(fault(VERSIONS, "a range from 1 on"));
    }
    Ok(min..=max)
}

/// 32 hexadecimal digits, in lower case.
fn identity(digits: &str) -> Result<[u8; 16], DecodeError> {
    let malformed = || fault(PEER, "32 hexadecimal digits");
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    let mut bytes = [0; 16];
    if pairs.len() != bytes.len() || !rest.is_empty() {
        return Err(malformed());
    }
    for (byte, pair) in bytes.iter_mut().zip(pairs) {
        let [high, low] = pair.map(|digit| match digit {
            b'0'..=b'9' => Some(digit - b'0'),
            b'a'..=b'f' => Some(digit - b'a' + 10),
            _ => None,
        });
        *byte = high.ok_or_else(malformed)? << 4 | low.ok_or_else(malformed)?;
    }
    Ok(bytes)
}

fn hex(bytes: [u8; 16]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The first bytes of `text`, at most `max`, without half a character and without NUL.
fn cut(text: &str, max: usize) -> &str {
    let text = text.split('\0').next().unwrap_or("");
    let mut len = text.len().min(max);
    while !text.is_char_boundary(len) {
        len -= 1;
    }
    &text[..len]
}
