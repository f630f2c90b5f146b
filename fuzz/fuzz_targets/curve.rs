//! What a peer sends over ZeroMQ with the mechanism CURVE, to a server and to a client: any bytes, cut anywhere, say the same. After
//! an honest handshake, what is in the boxes is any bytes too.
#![no_main]

mod reader;

use std::collections::HashSet;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use numpush_zmtp::{
    Allowed, CurveClient, CurveServer, FrameHead, Inbound, SecretKey, Security, Seed, SocketKind,
    WayOut,
};
use reader::{LIMITS, read};

const SERVER: u8 = 1;
const AFTER: u8 = 2;

/// The client and the server.
static ENDS: LazyLock<[Security; 2]> = LazyLock::new(|| {
    let [client, server] = [1, 2].map(|byte| SecretKey::new([byte; 32]));
    let allowed = Allowed::Keys(HashSet::from([client.public()]).into());
    let one = CurveClient::new(client, server.public());
    let other = CurveServer::new(server, allowed);
    [Security::CurveClient(one), Security::CurveServer(other)]
});

/// An end of a connection whose random bytes are always the same.
fn end(security: &Security) -> Inbound {
    let seed = Seed::of([if security.greeting().as_server { 4 } else { 3 }; 144]);
    Inbound::seeded(SocketKind::Dealer, security, LIMITS, seed)
}

/// A connection whose handshake is done: our end, and that of the peer.
fn open(ours: &Security, theirs: &Security) -> [Inbound; 2] {
    let mut ends = [ours, theirs].map(end);
    loop {
        let [ours, theirs] = &mut ends;
        let (up, down) = (ours.says(), theirs.says());
        if up.is_empty() && down.is_empty() {
            return ends;
        }
        for (end, says) in [(theirs, up), (ours, down)] {
            hear(end, &says);
        }
    }
}

fn hear(end: &mut Inbound, mut says: &[u8]) {
    while !says.is_empty() {
        let to = end.spare();
        let count = to.len().min(says.len());
        to[..count].copy_from_slice(&says[..count]);
        end.filled(count);
        says = &says[count..];
        while end.next().expect("both are honest").is_some() {}
    }
}

/// Seals what `bytes` says: flags and a length, and so many bytes, again and again.
fn sealed(peer: &mut Inbound, mut bytes: &[u8]) -> Vec<u8> {
    let Some(WayOut::Sealed(mut sealing)) = peer.way_out() else {
        panic!("it is ready");
    };
    let mut sent = Vec::new();
    while let Some(([flags, high, low], rest)) = bytes.split_first_chunk() {
        let len = usize::from(u16::from_be_bytes([*high, *low]));
        let (data, rest) = rest.split_at(len.min(rest.len()));
        let head = FrameHead {
            len: 0,
            more: flags & 1 != 0,
            command: flags & 2 != 0,
        };
        // A long frame out of a short input.
        let long = vec![0; usize::from(flags >> 2) << 10];
        let at = sent.len();
        sealing
            .seal(head, &[data, &long], &mut sent)
            .expect("few frames");
        if *flags == 0xff {
            let last = sent.len() - 1;
            sent[(at + len).min(last)] ^= 1;
        }
        bytes = rest;
    }
    sent
}

fuzz_target!(|input: &[u8]| {
    let Some((first, bytes)) = input.split_first() else {
        return;
    };
    let [client, server] = &*ENDS;
    let (ours, theirs) = match first & SERVER {
        0 => (client, server),
        _ => (server, client),
    };
    let piece = usize::from(first >> 2) + 1;
    if first & AFTER == 0 {
        let inbound = || end(ours);
        let whole = read(&mut inbound(), bytes, usize::MAX);
        assert_eq!(read(&mut inbound(), bytes, piece), whole);
        return;
    }
    // Once only: a handshake takes most of the time.
    let [mut end, mut peer] = open(ours, theirs);
    let sent = sealed(&mut peer, bytes);
    read(&mut end, &sent, piece);
});
