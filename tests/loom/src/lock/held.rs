//! No thread here takes a lock twice, or too many.

use crate::lock::error::LockError;

pub(crate) fn enter(_lock: usize, _mutexes: usize) -> Result<(), LockError> {
    Ok(())
}

pub(crate) fn leave(_lock: usize, _mutexes: usize) {}
