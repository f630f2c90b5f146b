use numpush_shm_core::reap_names;

use crate::error::Error;

/// Removes the names that killed processes left (`np.…` in /dev/shm, of this user), and returns them.
///
/// # Errors
/// [`Error::Named`] if /dev/shm cannot be read.
pub fn reap() -> Result<Vec<String>, Error> {
    Ok(reap_names()?)
}
