//! The schema that a reader has seen last.

use std::sync::Arc;

use crate::model::schema::Schema;

/// Most columns of a schema that is kept. The memory of it is the reader's for as long as it reads.
const MAX_COLUMNS: usize = 4096;

/// Longest form on the wire of a schema that is kept, in bytes.
const MAX_TEXT: usize = 128 << 10;

/// The schema of the last frame that was read. A frame that has it again is compared with it, and not read anew.
#[derive(Debug, Default)]
pub(crate) struct Seen(Option<Arc<Schema>>);

impl Seen {
    pub(super) fn schema(&self) -> Option<&Arc<Schema>> {
        self.0.as_ref()
    }

    /// Keeps `schema` in place of the one before, unless it is too large.
    pub(super) fn keep(&mut self, schema: &Arc<Schema>) {
        let (columns, text) = (schema.fields.len(), schema.text.bytes.len());
        if columns > MAX_COLUMNS || text > MAX_TEXT {
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
