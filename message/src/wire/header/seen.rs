//! The schema that a reader has seen last.

use std::sync::Arc;

use crate::model::schema::Schema;

/// Most bytes of memory of a schema that is kept, about. They are the reader's for as long as it reads, and a peer that has
/// sent one frame may never send another.
const MOST: usize = 256 << 10;

/// A column without its name, the node of a map, and an entry of it with two short texts.
const COLUMN: usize = 100;
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

/// The schema of the last frame that was read. A frame that has it again is compared with it, and not read anew.
#[derive(Debug, Default)]
pub(crate) struct Seen(Option<Arc<Schema>>);

impl Seen {
    pub(super) fn schema(&self) -> Option<&Arc<Schema>> {
        self.0.as_ref()
    }

    /// Keeps `schema` in place of the one before, unless it is too large.
    pub(super) fn keep(&mut self, schema: &Arc<Schema>) {
        if weight(schema) > MOST {
            return;
        }
        let is_kept = self
            .0
            .as_ref()
            .is_some_and(|last| Arc::ptr_eq(last, schema));
        if !is_kept {
            self.0 = Some(Arc::clone(schema));
        }
    }
}
