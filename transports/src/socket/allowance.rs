//! How long a peer may take, whatever the caller's timeouts are.

use std::time::Duration;

/// For a peer that has connected to send its hello.
pub(super) const HANDSHAKE: Duration = Duration::from_secs(5);

/// For a listener to answer: it may be busy before it accepts.
pub(super) const ANSWER: Duration = Duration::from_secs(30);

/// From the first byte of a record to the end of its header.
const HEADER: Duration = Duration::from_secs(5);

/// For a payload: this long, and as long again as the slowest rate takes.
const PAYLOAD: Duration = Duration::from_secs(30);
const SLOWEST_BYTES_PER_SECOND: u64 = 64 << 10;

/// How long a record may take from its first byte on; `payload` is its length, once it is known.
pub(super) fn for_record(payload: Option<u64>) -> Duration {
    match payload {
        None => HEADER,
        Some(len) => HEADER + PAYLOAD + Duration::from_secs(len / SLOWEST_BYTES_PER_SECOND),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_longer_payload_may_take_longer() {
        assert_eq!(for_record(None), Duration::from_secs(5));
        assert_eq!(for_record(Some(0)), Duration::from_secs(35));
        assert_eq!(for_record(Some(64 << 20)), Duration::from_secs(35 + 1024));
    }
}
