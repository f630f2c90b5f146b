use crate::wire::error::DecodeError;
use crate::wire::preamble::Preamble;

/// What a decoder accepts. Every limit is checked before anything is allocated for the claim it bounds.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest payload of one message in bytes (buffers and the padding between them).
    pub payload: u64,
}

impl Limits {
    /// Most dimensions of an array; NumPy 1 has the same limit.
    pub const DIMENSIONS: usize = 32;
    /// Most columns of a frame.
    pub const COLUMNS: usize = 65_536;
    /// Longest column, field or attribute name in bytes.
    pub const NAME: usize = 1024;
    /// Most fields of a record dtype.
    pub const FIELDS: usize = 256;
    /// Largest element in bytes (a fixed-width string or a record).
    pub const ITEM: usize = 1 << 20;
    /// Most dictionaries inside one another.
    pub const DICTIONARY_DEPTH: usize = 2;
    /// Longest header in bytes, whatever the number of buffers.
    pub const HEADER: usize = 8 << 20;

    /// Longest header of a message with `buffers` buffers: 64 KiB, and 1 KiB more for each buffer, up to
    /// [`Self::HEADER`]. The bytes are read into memory that grows as they arrive, never on the claim alone.
    pub fn header(buffers: u32) -> u64 {
        ((64 << 10) + (u64::from(buffers) << 10)).min(Self::HEADER as u64)
    }

    /// Most buffers of a message: three a column and its dictionary.
    pub const BUFFERS: u32 = 6 * 65_536 + 8;

    /// Limits with another largest payload.
    #[must_use]
    pub fn with_payload(self, payload: u64) -> Self {
        Self { payload }
    }

    pub(crate) fn check(&self, preamble: &Preamble) -> Result<(), DecodeError> {
        if preamble.buffers > Self::BUFFERS {
            return Err(DecodeError::TooManyBuffers {
                count: preamble.buffers,
                max: Self::BUFFERS,
            });
        }
        let max = Self::header(preamble.buffers);
        if u64::from(preamble.header_len) > max {
            return Err(DecodeError::HeaderTooLong {
                len: preamble.header_len.into(),
                max,
            });
        }
        if preamble.payload_len > self.payload {
            return Err(DecodeError::PayloadTooLong {
                len: preamble.payload_len,
                max: self.payload,
            });
        }
        Ok(())
    }
}

/// A name of a column, field or attribute is short and has no NUL, which C could not carry.
pub(crate) fn check_name(name: &str) -> Result<(), DecodeError> {
    if name.len() > Limits::NAME {
        let (value, max) = (name.len() as u64, Limits::NAME as u64);
        return Err(DecodeError::OverLimit {
            what: "name length",
            value,
            max,
        });
    }
    if name.contains('\0') {
        Err(DecodeError::Name {
            name: name.to_owned(),
        })
    } else {
        Ok(())
    }
}

impl Default for Limits {
    /// 1 GiB a message.
    fn default() -> Self {
        Self { payload: 1 << 30 }
    }
}
