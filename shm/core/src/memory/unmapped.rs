//! Who wants to know that memory which this process made is gone from it.

use std::sync::OnceLock;

use numpush_os::FileId;

static CALL: OnceLock<fn(FileId)> = OnceLock::new();

/// Sets what is called when this process unmaps [`SharedPages`](super::SharedPages) that it made. The first call decides.
pub fn when_unmapped(call: fn(FileId)) {
    let _ = CALL.set(call);
}

/// Memory that this process made is about to be unmapped.
pub(super) fn report(memory: FileId) {
    if let Some(call) = CALL.get() {
        call(memory);
    }
}
