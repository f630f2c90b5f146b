//! Reads what a peer sends over ZeroMQ as a driver does, and says what came.

use numpush_zmtp::{Event, FrameHead, Inbound, Limits, SEALED_LEAD};

pub const LIMITS: Limits = Limits {
    message: 1 << 16,
    frames: 8,
    handshake: 512,
    command: 600,
};

enum Came {
    Nothing,
    Frame(FrameHead),
    Sealed(u64),
    Other,
}

/// Gives `bytes` to `inbound` in pieces of at most `piece` bytes, every other body to where it stays, and says what came, and
/// what is answered.
pub fn read(inbound: &mut Inbound, mut bytes: &[u8], piece: usize) -> String {
    let mut said = String::new();
    let mut lands = false;
    loop {
        let event = inbound.next().map(|event| match event {
            None => Came::Nothing,
            Some(Event::Frame(head)) => Came::Frame(head),
            Some(Event::Sealed(len)) => Came::Sealed(len),
            Some(event) => {
                said += &format!("{event:?}");
                Came::Other
            }
        });
        let answer = inbound.says();
        said.extend(answer.iter().map(|byte| format!(" {byte}")));
        let came = match event {
            Ok(came) => came,
            Err(fault) => {
                // What it names of the first bytes depends on how many have come.
                assert_eq!(inbound.next(), Err(fault));
                assert!(inbound.way_out().is_none());
                return said;
            }
        };
        match came {
            Came::Other => {}
            Came::Nothing if bytes.is_empty() => return said,
            Came::Nothing => give(inbound, &mut bytes, piece),
            Came::Frame(head) => {
                assert!(head.len <= LIMITS.message);
                lands = !lands;
                let Some(body) = whole(inbound, head.len, &mut bytes, piece, lands) else {
                    return said;
                };
                said += &format!("{head:?} {body:?}");
            }
            Came::Sealed(len) => {
                assert!(len <= LIMITS.message + SEALED_LEAD as u64);
                lands = !lands;
                let Some(mut body) = whole(inbound, len, &mut bytes, piece, lands) else {
                    return said;
                };
                let Ok(head) = inbound.open(&mut body) else {
                    return said;
                };
                said += &format!("{head:?} {:?}", &body[SEALED_LEAD..]);
            }
        }
    }
}

fn give(inbound: &mut Inbound, bytes: &mut &[u8], piece: usize) {
    let to = inbound.spare();
    assert!(!to.is_empty() && to.len() <= 1 << 16);
    let count = piece.min(bytes.len()).min(to.len());
    let (now, later) = bytes.split_at(count);
    to[..count].copy_from_slice(now);
    inbound.filled(count);
    *bytes = later;
}

/// The body at hand; `None` if the bytes end before it.
fn whole(
    inbound: &mut Inbound,
    len: u64,
    bytes: &mut &[u8],
    piece: usize,
    lands: bool,
) -> Option<Vec<u8>> {
    let mut body = vec![0; len as usize];
    let mut at = 0;
    loop {
        at += inbound.take(&mut body[at..]);
        if inbound.body_left() == 0 {
            return Some(body);
        }
        if bytes.is_empty() {
            return None;
        }
        if !(lands && inbound.lands()) {
            give(inbound, bytes, piece);
            continue;
        }
        let count = piece.min(bytes.len()).min(body.len() - at);
        let (now, later) = bytes.split_at(count);
        body[at..at + count].copy_from_slice(now);
        inbound.landed(count as u64);
        (at, *bytes) = (at + count, later);
    }
}
