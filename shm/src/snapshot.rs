//! Copies of shared values that nobody can write any more.

use numpush_message::{Backing, Buffer, Stability};
use numpush_os::Memfd;

use crate::error::Error;

/// `len` bytes that `fill` writes, in memory that the kernel protects against every writer from then on.
pub(crate) fn sealed_copy(
    len: usize,
    fill: impl FnOnce(&mut [u8]),
) -> Result<Buffer<'static>, Error> {
    let memory = Memfd::new(len);
    let mut memory = memory.map_err(Error::io("make memory for a snapshot"))?;
    fill(memory.as_mut_slice());
    let (file, mapping) = memory.seal().map_err(Error::io("seal a snapshot"))?;
    let backing = Backing {
        file,
        offset: 0,
        stability: Stability::Sealed,
    };
    Ok(Buffer::from_owner(mapping).with_backing(backing))
}
