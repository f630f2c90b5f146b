//! One lock, with a record for each thread.

use super::mapped::Mapped;
use super::record::ThreadRecord;

#[derive(Clone, Copy, Debug)]
pub(crate) struct LockTable {
    pub(crate) records: Mapped<[ThreadRecord]>,
}
