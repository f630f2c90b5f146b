use crate::wire::kind::RecordKind;

/// What a decoder accepts. Every limit is checked before anything is allocated for the claim it bounds.
///
/// ```
/// use numpush_message::Limits;
///
/// assert_eq!(Limits::default().payload, 1 << 30);
/// let generous = Limits::default().with_payload(16 << 30);
/// assert_eq!(generous.payload, 16 << 30);
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest payload of one message in bytes (buffers and the padding between them). Default: 1 GiB.
    pub payload: u64,
}

impl Limits {
    /// Longest header in bytes, whatever the number of buffers.
    pub const HEADER: usize = 8 << 20;

    /// Longest body of a control record in bytes.
    pub const CONTROL: usize = 4 << 10;

    /// Most buffers of a message: three for each column and three for its dictionary.
    pub const BUFFERS: u32 = 6 * 65_536 + 8;

    /// Most attributes of a message, and most entries of the metadata of a schema or a column.
    pub const ENTRIES: usize = 1024;

    /// Longest header of a message of kind `kind` with `buffers` buffers: 66 KiB; for frames, and for kinds that this
    /// version does not know, 1 KiB more for each buffer, up to [`Self::HEADER`]. The bytes are read into memory that
    /// grows as they arrive, never on the claim alone.
    pub fn header(kind: RecordKind, buffers: u32) -> u64 {
        let each = match kind {
            RecordKind::Bytes | RecordKind::Array | RecordKind::Part => 0,
            _ => u64::from(buffers) << 10,
        };
        ((66 << 10) + each).min(Self::HEADER as u64)
    }

    /// Sets the largest payload of one message in bytes.
    #[must_use]
    pub fn with_payload(mut self, payload: u64) -> Self {
        self.payload = payload;
        self
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { payload: 1 << 30 }
    }
}
