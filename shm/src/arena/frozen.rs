//! Bytes that were shared and have one owner again.

use std::sync::Arc;

use numpush_message::Buffer;
use numpush_shm_core::{MemoryRange, Owned};

use crate::arena::Reservation;

/// Bytes of one owner, which nobody else has open.
struct Frozen {
    // Dropped first: the claim ends before the bytes are free.
    claim: MemoryRange<Owned>,
    _reservation: Option<Arc<Reservation>>,
}

impl AsRef<[u8]> for Frozen {
    fn as_ref(&self) -> &[u8] {
        self.claim.as_ref()
    }
}

/// A buffer over bytes that are not shared any more.
pub(crate) fn freeze(
    claim: MemoryRange<Owned>,
    reservation: Option<Arc<Reservation>>,
) -> Buffer<'static> {
    Buffer::from_owner(Frozen {
        claim,
        _reservation: reservation,
    })
}
