//! What a peer sends over ZeroMQ with the mechanism PLAIN, to a server and to a client: any bytes, cut anywhere, say the same.
#![no_main]

mod reader;

use libfuzzer_sys::fuzz_target;
use numpush_zmtp::{Inbound, Login, Security, SocketKind};
use reader::{LIMITS, read};

fuzz_target!(|input: &[u8]| {
    let Some((first, bytes)) = input.split_first() else {
        return;
    };
    let login = Login::new(b"ann", b"secret").expect("both are short");
    let security = match first % 2 {
        0 => Security::PlainClient(login),
        _ => Security::PlainServer([login].into()),
    };
    let inbound = || Inbound::new(SocketKind::Dealer, &security, LIMITS);
    let (mut cut, mut whole) = (inbound(), inbound());
    assert_eq!(
        read(&mut cut, bytes, usize::from(first / 2) + 1),
        read(&mut whole, bytes, usize::MAX)
    );
    // Nobody is known who has not said the name and the password.
    if let (Security::PlainServer(_), Some(peer)) = (&security, whole.peer()) {
        assert_eq!(peer, "ann");
        let said = b"\x05HELLO\x03ann\x06secret";
        assert!(bytes.windows(said.len()).any(|bytes| bytes == said));
    }
});
