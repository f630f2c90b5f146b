//! What a peer sends over ZeroMQ: any bytes, cut anywhere, say the same, and take no more memory than the limits allow.
#![no_main]

mod reader;

use libfuzzer_sys::fuzz_target;
use numpush_zmtp::{Inbound, Security, SocketKind};
use reader::{LIMITS, read};

fuzz_target!(|input: &[u8]| {
    let Some((piece, bytes)) = input.split_first() else {
        return;
    };
    let inbound = || Inbound::new(SocketKind::Dealer, &Security::Null, LIMITS);
    assert_eq!(
        read(&mut inbound(), bytes, usize::from(*piece) + 1),
        read(&mut inbound(), bytes, usize::MAX)
    );
});
