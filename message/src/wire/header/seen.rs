//! What a reader has seen last: a header, and the schema of a frame.

use std::sync::Arc;

use crate::model::schema::Schema;
use crate::wire::header::parts::{Header, HeaderBody};
use crate::wire::kind::RecordKind;
use crate::wire::preamble::Preamble;

/// Most bytes of memory of a schema that is kept, about. They are the reader's for as long as it reads, and a peer that has
/// sent one frame may never send another.
const MOST: usize = 256 << 10;

/// A column without its name and with a dictionary, the node of a map, and an entry of it with two short texts.
const COLUMN: usize = 160;
const MAP: usize = 600;
const ENTRY: usize = 100;

/// Bytes of memory that a schema takes, about.
fn weight(schema: &Schema) -> usize {
    let maps = schema.fields.iter().map(|field| &field.metadata);
    let maps = maps.chain([&schema.metadata]);
    let entries: usize = maps
        .filter(|map| !map.is_empty())
        .map(|map| MAP + ENTRY * map.len())
        .sum();
    2 * schema.text.bytes.len() + COLUMN * schema.fields.len() + entries
}

/// Most bytes of memory of a header that is kept, about, besides the schema: of a frame and of another message.
const MOST_OF_FRAME: usize = 64 << 10;
const MOST_OF_OTHERS: usize = 8 << 10;

/// Bytes of memory that a header takes besides its schema, about: itself, its lengths and counts, its attributes.
fn header_weight(bytes: &[u8], header: &Header) -> usize {
    let numbers = match &header.body {
        HeaderBody::Frame(frame) => frame.schema.fields.len() * 4,
        _ => 0,
    };
    let attributes = match header.attributes.len() {
        0 => 0,
        count => MAP + ENTRY * count,
    };
    2 * bytes.len() + size_of::<u64>() * numbers + attributes
}

/// The last records that were read. A header that has the same bytes is not read anew: nothing is taken from here on trust.
/// Neither is the schema of a frame whose columns have the same bytes.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    schema: Option<Arc<Schema>>,
    last: Option<Last>,
}

/// A header that was read and checked.
#[derive(Debug)]
struct Last {
    kind: RecordKind,
    buffers: u32,
    payload_len: u64,
    bytes: Vec<u8>,
    header: Header,
}

impl Seen {
    pub(super) fn schema(&self) -> Option<&Arc<Schema>> {
        self.schema.as_ref()
    }

    /// Keeps `schema` in place of the one before, unless it is too large.
    pub(super) fn keep(&mut self, schema: &Arc<Schema>) {
        if weight(schema) > MOST {
            return;
        }
        let is_kept = self
            .schema
            .as_ref()
            .is_some_and(|last| Arc::ptr_eq(last, schema));
        if !is_kept {
            self.schema = Some(Arc::clone(schema));
        }
    }

    /// What the header of the last record says, if it had these bytes, and if the preamble says the same of it.
    pub(crate) fn again(&self, preamble: &Preamble, bytes: &[u8]) -> Option<&Header> {
        let last = self.last.as_ref()?;
        let is_same = last.bytes == bytes
            && last.kind == preamble.kind
            && last.buffers == preamble.buffers
            && last.payload_len == preamble.payload_len
            // What is compressed was not read to its end.
            && !preamble.flags.compressed;
        is_same.then_some(&last.header)
    }

    /// The header of the last record that is kept, and its payload's length, if it had these bytes.
    pub(crate) fn last(&self, bytes: &[u8]) -> Option<(u64, &Header)> {
        let last = self.last.as_ref().filter(|last| last.bytes == bytes)?;
        Some((last.payload_len, &last.header))
    }

    /// Keeps a header that was read, unless it is too long.
    pub(super) fn note(&mut self, preamble: &Preamble, bytes: &[u8], header: &Header) {
        let most = match &header.body {
            HeaderBody::Frame(frame) if weight(&frame.schema) <= MOST => MOST_OF_FRAME,
            HeaderBody::Frame(_) => return,
            _ => MOST_OF_OTHERS,
        };
        if header_weight(bytes, header) > most {
            return;
        }
        let mut kept = self.last.take().map_or_else(Vec::new, |last| last.bytes);
        kept.clear();
        kept.extend_from_slice(bytes);
        self.last = Some(Last {
            kind: preamble.kind,
            buffers: preamble.buffers,
            payload_len: preamble.payload_len,
            bytes: kept,
            header: header.clone(),
        });
    }
}
