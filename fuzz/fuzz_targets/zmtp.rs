//! What a peer sends over ZeroMQ: any bytes, cut anywhere, say the same, and take no more memory than the limits allow.
#![no_main]

use libfuzzer_sys::fuzz_target;
use numpush_zmtp::{Event, Inbound, Limits, Security, SocketKind};

const LIMITS: Limits = Limits {
    message: 1 << 16,
    frames: 8,
    handshake: 512,
    command: 600,
};

/// Reads `bytes` in pieces of at most `piece` bytes, every other body to where it stays, and says what came.
fn read(mut bytes: &[u8], piece: usize) -> String {
    let mut inbound = Inbound::new(SocketKind::Dealer, &Security::Null, LIMITS);
    let (mut said, mut body) = (String::new(), Vec::new());
    let mut lands = false;
    loop {
        if inbound.body_left() > 0 {
            let count = inbound.take(&mut body);
            said.extend(body[..count].iter().map(|byte| format!(" {byte}")));
            if count > 0 {
                continue;
            }
        } else {
            match inbound.next() {
                Ok(Some(Event::Frame(head))) => {
                    assert!(head.len <= LIMITS.message);
                    lands = !lands;
                    body = vec![0; head.len as usize];
                    said += &format!("{head:?}");
                    continue;
                }
                Ok(Some(event)) => {
                    said += &format!("{event:?}");
                    continue;
                }
                Ok(None) => {}
                // What it has seen when it gives up depends on how much has come.
                Err(_) => return said,
            }
        }
        if bytes.is_empty() {
            return said;
        }
        let lands = lands && inbound.lands();
        let left = inbound.body_left() as usize;
        let to = if lands {
            &mut body[..left]
        } else {
            inbound.spare()
        };
        assert!(!to.is_empty() && to.len() <= 1 << 16);
        let count = piece.min(bytes.len()).min(to.len());
        to[..count].copy_from_slice(&bytes[..count]);
        bytes = &bytes[count..];
        if lands {
            said.extend(body[..count].iter().map(|byte| format!(" {byte}")));
            inbound.landed(count as u64);
        } else {
            inbound.filled(count);
        }
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((piece, bytes)) = input.split_first() else {
        return;
    };
    assert_eq!(
        read(bytes, usize::from(*piece) + 1),
        read(bytes, usize::MAX)
    );
});
