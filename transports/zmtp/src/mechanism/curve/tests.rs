//! Both sides against each other, and each against a peer that lies.

use std::collections::HashSet;
use std::sync::Arc;

use super::*;
use crate::cipher::{KEY, TAG};
use crate::frame::FrameHead;
use crate::handshake::Handshake;
use crate::mechanism::step::{bodies, say};
use crate::properties::Properties;
use crate::seal::{Opening, SEALED_LEAD, Sealing};

const CLIENT: &[u8] = b"\x0bSocket-Type\0\0\0\x04PUSH";
const SERVER: &[u8] = b"\x0bSocket-Type\0\0\0\x04PULL";
/// A public key that agrees with every other on zeros.
const LOW_ORDER: [u8; KEY] = [0; KEY];

fn key(byte: u8) -> SecretKey {
    SecretKey::new([byte; KEY])
}

/// The client has the key 1 and the server the key 2; those of the connection come from the seeds 3 and 4.
fn client() -> Client {
    let config = CurveClient::new(key(1), key(2).public());
    Client::new(config, Some(Seed::of([3; 144])))
}

fn server_of(seed: u8, allowed: Allowed) -> Server {
    Server::new(
        CurveServer::new(key(2), allowed),
        Some(Seed::of([seed; 144])),
    )
}

fn server() -> Server {
    server_of(4, Allowed::Anybody)
}

fn begin(client: &mut Client) -> Vec<u8> {
    let mut says = Vec::new();
    let ours = Properties::read(CLIENT).unwrap();
    client.begin(ours, &mut says).unwrap();
    body(&says)
}

/// The body of the one command in `says`.
fn body(says: &[u8]) -> Vec<u8> {
    let [body] = bodies(says)[..] else {
        panic!("one command: {says:?}");
    };
    body.to_owned()
}

/// What one side answers to a command, and the properties that it has learned.
fn hear(
    side: &mut dyn Handshake,
    heard: &[u8],
    ours: &[u8],
) -> Result<(Vec<u8>, Option<Vec<u8>>), Fault> {
    let mut says = Vec::new();
    let theirs = side.hear(heard, Properties::read(ours)?, &mut says)?;
    Ok((says, theirs.map(|theirs| theirs.bytes().to_owned())))
}

/// The commands of an honest handshake: HELLO, WELCOME, INITIATE, READY.
fn script() -> [Vec<u8>; 4] {
    let (mut client, mut server) = (client(), server());
    let hello = begin(&mut client);
    let welcome = body(&hear(&mut server, &hello, SERVER).unwrap().0);
    let initiate = body(&hear(&mut client, &welcome, CLIENT).unwrap().0);
    let ready = body(&hear(&mut server, &initiate, SERVER).unwrap().0);
    [hello, welcome, initiate, ready]
}

/// A client and a server whose handshake is done.
fn open() -> (Client, Server) {
    let (mut client, mut server) = (client(), server());
    let [hello, welcome, initiate, ready] = script();
    assert_eq!(begin(&mut client), hello);
    hear(&mut server, &hello, SERVER).unwrap();
    hear(&mut client, &welcome, CLIENT).unwrap();
    let (_, theirs) = hear(&mut server, &initiate, SERVER).unwrap();
    assert_eq!(theirs.as_deref(), Some(CLIENT));
    let (says, theirs) = hear(&mut client, &ready, CLIENT).unwrap();
    assert_eq!((says.len(), theirs.as_deref()), (0, Some(SERVER)));
    (client, server)
}

fn both(side: &mut dyn Handshake) -> (Opening, Sealing) {
    let both = (side.opening().unwrap(), side.sealing().unwrap());
    assert!(side.opening().is_none() && side.sealing().is_none());
    both
}

/// Opens the body of a sealed frame where it is.
fn opened(opening: &mut Opening, body: &mut [u8]) -> Result<FrameHead, Fault> {
    let (lead, sealed) = body
        .split_first_chunk_mut()
        .ok_or(Fault::Violation("a frame came that is not sealed"))?;
    opening.open(lead, sealed)
}

/// The body of a sealed frame.
fn seal(sealing: &mut Sealing, head: FrameHead, parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    sealing.seal(head, parts, &mut bytes).unwrap();
    let (outer, taken) = FrameHead::read(&bytes).unwrap().unwrap();
    assert_eq!(
        outer,
        FrameHead::message((bytes.len() - taken) as u64, false)
    );
    bytes.split_off(taken)
}

#[test]
fn both_sides_learn_who_the_other_is_and_what_it_says() {
    let (client, server) = open();
    assert_eq!(client.peer(), Some(key(2).public().to_string()));
    assert_eq!(server.peer(), Some(key(1).public().to_string()));
    let [hello, welcome, initiate, ready] = script().map(|body| body.len());
    // As RFC 26 has them.
    assert_eq!((hello, welcome), (200, 168));
    assert_eq!((initiate, ready), (257 + CLIENT.len(), 30 + SERVER.len()));
}

#[test]
fn frames_go_both_ways_and_keep_what_they_are() {
    let (mut client, mut server) = open();
    let (mut one, mut other) = (both(&mut client), both(&mut server));
    for len in [0, 1, 222, 223, 100_000] {
        for head in [
            FrameHead::message(len, false),
            FrameHead::message(len, true),
            FrameHead::command(len),
        ] {
            let data = vec![7; usize::try_from(len).unwrap()];
            let mut there = seal(&mut one.1, head, &[&data]);
            assert_eq!(opened(&mut other.0, &mut there), Ok(head));
            assert_eq!(there[SEALED_LEAD..], data);
            let (front, back) = data.split_at(data.len() / 3);
            let mut here = seal(&mut other.1, head, &[front, back]);
            assert_eq!(opened(&mut one.0, &mut here), Ok(head));
            assert_eq!(here[SEALED_LEAD..], data);
        }
    }
}

#[test]
fn a_frame_that_comes_again_or_too_late_is_refused() {
    let (mut client, mut server) = open();
    let (_, mut sealing) = both(&mut client);
    let (mut opening, mut back) = both(&mut server);
    let head = FrameHead::message(1, false);
    let frames: Vec<_> = (0..3).map(|_| seal(&mut sealing, head, &[b"x"])).collect();
    assert_eq!(opened(&mut opening, &mut frames[1].clone()), Ok(head));
    // HELLO and INITIATE had 1 and 2.
    for (number, frame) in [(3, &frames[0]), (4, &frames[1])] {
        let refused = opened(&mut opening, &mut frame.clone());
        assert_eq!(refused, Err(Fault::Repeated { number, last: 4 }));
    }
    // A number that nobody proved changes nothing.
    let mut later = frames[2].clone();
    later[8] = 0xff;
    assert_eq!(
        opened(&mut opening, &mut later),
        Err(Fault::Sealed("frame"))
    );
    assert_eq!(opened(&mut opening, &mut frames[2].clone()), Ok(head));
    // What a side sealed itself is not the other's.
    let mut own = seal(&mut back, head, &[b"x"]);
    own[15] = 99;
    assert_eq!(opened(&mut opening, &mut own), Err(Fault::Sealed("frame")));
}

#[test]
fn a_frame_that_was_changed_or_cut_is_refused() {
    let (mut client, mut server) = open();
    let (_, mut sealing) = both(&mut client);
    let (mut opening, _) = both(&mut server);
    let head = FrameHead::message(3, true);
    let mut frame = seal(&mut sealing, head, &[b"abc"]);
    for bit in 0..frame.len() * 8 {
        let mut changed = frame.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(opened(&mut opening, &mut changed).is_err(), "{bit}");
    }
    for len in 0..frame.len() {
        assert!(
            opened(&mut opening, &mut frame[..len].to_owned()).is_err(),
            "{len}"
        );
    }
    assert_eq!(opened(&mut opening, &mut frame), Ok(head));
}

#[test]
fn a_command_that_was_changed_or_cut_is_refused() {
    let script = script();
    for (index, said) in script.iter().enumerate() {
        // The padding of HELLO means nothing, nor does the top bit of a key to X25519. The vouch has the whole key.
        let means = |bit: &usize| index > 0 || !((64..640).contains(bit) || *bit == 112 * 8 - 1);
        let bits = (0..said.len() * 8).filter(means);
        let changed = bits.map(|bit| {
            let mut said = said.clone();
            said[bit / 8] ^= 1 << (bit % 8);
            said
        });
        let cut = (0..said.len()).map(|len| said[..len].to_owned());
        let mut longer = said.clone();
        longer.push(b'!');
        for wrong in changed.chain(cut).chain([longer]) {
            let (mut client, mut server) = (client(), server());
            begin(&mut client);
            let refused = match index {
                0 => hear(&mut server, &wrong, SERVER),
                1 => hear(&mut client, &wrong, CLIENT),
                2 => {
                    hear(&mut server, &script[0], SERVER).unwrap();
                    hear(&mut server, &wrong, SERVER)
                }
                _ => {
                    hear(&mut client, &script[1], CLIENT).unwrap();
                    hear(&mut client, &wrong, CLIENT)
                }
            };
            assert!(refused.is_err(), "{index}: {wrong:02x?}");
            assert!(client.sealing().is_none() && server.opening().is_none());
        }
    }
}

#[test]
fn a_client_of_another_server_is_refused() {
    let config = CurveClient::new(key(1), key(9).public());
    let hello = begin(&mut Client::new(config, None));
    let refused = hear(&mut server(), &hello, SERVER);
    assert_eq!(refused, Err(Fault::Sealed("HELLO")));
}

#[test]
fn a_server_that_only_says_it_is_one_is_refused() {
    let mut client = client();
    begin(&mut client);
    // It has the public key, and seals with another.
    let agreed = agree(&key(9), &Seed::of([3; 144]).key().public()).unwrap();
    let mut sealed = Vec::new();
    let nonce = random(b"WELCOME-", &[0; 16]);
    agreed.seal_to(
        &nonce,
        &[key(4).public().bytes(), &[0; COOKIE]],
        &mut sealed,
    );
    let refused = hear(
        &mut client,
        &command(b"WELCOME", &[&[0; 16], &sealed]),
        CLIENT,
    );
    assert_eq!(refused, Err(Fault::Sealed("WELCOME")));
}

#[test]
fn only_who_is_allowed_comes_in() {
    let keys = |bytes: &[u8]| {
        let keys: HashSet<_> = bytes.iter().map(|byte| key(*byte).public()).collect();
        Allowed::Keys(Arc::new(keys))
    };
    for (allowed, comes_in) in [
        (keys(&[7, 1, 8]), true),
        (keys(&[7, 8]), false),
        (keys(&[]), false),
    ] {
        let mut server = server_of(4, allowed);
        let [hello, _, initiate, _] = script();
        hear(&mut server, &hello, SERVER).unwrap();
        let mut says = Vec::new();
        let ours = Properties::read(SERVER).unwrap();
        let heard = server.hear(&initiate, ours, &mut says);
        if comes_in {
            assert!(heard.unwrap().is_some());
            continue;
        }
        let who = key(1).public().to_string();
        assert_eq!(heard, Err(Fault::NotAllowed(who)));
        assert_eq!(body(&says), b"\x05ERROR\x03400");
        assert!(server.peer().is_none() && server.sealing().is_none());
    }
}

#[test]
fn an_initiate_that_was_said_elsewhere_is_refused() {
    let [hello, _, initiate, _] = script();
    let mut other = server_of(5, Allowed::Anybody);
    hear(&mut other, &hello, SERVER).unwrap();
    assert_eq!(hear(&mut other, &initiate, SERVER), Err(Fault::Cookie));
    // Nor with the right cookie: it was sealed for another key.
    let mut other = server_of(5, Allowed::Anybody);
    hear(&mut other, &hello, SERVER).unwrap();
    let mut repaired = initiate.clone();
    repaired[9..9 + COOKIE].copy_from_slice(&Seed::of([5; 144]).cookie());
    assert_eq!(
        hear(&mut other, &repaired, SERVER),
        Err(Fault::Sealed("INITIATE"))
    );
    // Nor twice.
    let (_, mut server) = open();
    let again = hear(&mut server, &initiate, SERVER);
    assert_eq!(again, Err(Fault::Violation("the handshake is over")));
}

/// The body of a command.
fn command(name: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    say(name, parts, &mut bytes);
    body(&bytes)
}

/// What a client says that knows how to lie: its key, what it vouches for, and the number of the box.
fn initiate(client: [u8; KEY], vouch: &[u8; 2 * KEY + TAG], number: u64) -> Result<(), Fault> {
    let mut server = server();
    let [hello, ..] = script();
    hear(&mut server, &hello, SERVER).unwrap();
    let (ours, theirs) = (Seed::of([4; 144]), Seed::of([3; 144]));
    let mut sealed = Vec::new();
    agree(&theirs.key(), &ours.key().public()).unwrap().seal_to(
        &numbered(b"CurveZMQINITIATE", number),
        &[&client, &[0; 16], vouch, CLIENT],
        &mut sealed,
    );
    let parts: [&[u8]; 3] = [&ours.cookie(), &number.to_be_bytes(), &sealed];
    hear(&mut server, &command(b"INITIATE", &parts), SERVER).map(|_| ())
}

/// A vouch of the client with the key `by` for the keys of a connection and a server.
fn vouch(by: u8, passing: PublicKey, server: PublicKey) -> [u8; 2 * KEY + TAG] {
    let mut vouch = Vec::new();
    agree(&key(by), &Seed::of([4; 144]).key().public())
        .unwrap()
        .seal_to(
            &random(b"VOUCH---", &[0; 16]),
            &[passing.bytes(), server.bytes()],
            &mut vouch,
        );
    vouch.try_into().unwrap()
}

#[test]
fn a_client_that_pretends_to_be_another_is_refused() {
    let (one, passing, server) = (
        *key(1).public().bytes(),
        Seed::of([3; 144]).key().public(),
        key(2).public(),
    );
    let honest = vouch(1, passing, server);
    assert_eq!(initiate(one, &honest, 2), Ok(()));
    // It has the public key of another only.
    let other = vouch(8, passing, server);
    assert_eq!(initiate(one, &other, 2), Err(Fault::Sealed("vouch")));
    // It repeats what that one vouched for: its own connection, or another server.
    for wrong in [
        vouch(1, key(8).public(), server),
        vouch(1, passing, key(8).public()),
    ] {
        assert_eq!(initiate(one, &wrong, 2), Err(Fault::Vouch));
    }
    // It has a key that needs no secret.
    let weak = initiate(LOW_ORDER, &honest, 2);
    let named = PublicKey::new(LOW_ORDER).to_string();
    assert_eq!(weak, Err(Fault::WeakKey(named)));
    // Its number does not rise.
    for number in [0, 1] {
        let refused = initiate(one, &honest, number);
        assert_eq!(refused, Err(Fault::Repeated { number, last: 1 }));
    }
}

#[test]
fn keys_of_low_order_are_refused_everywhere() {
    let weak = || Fault::WeakKey(PublicKey::new(LOW_ORDER).to_string());
    // That of the server, as it was given to the client.
    let config = CurveClient::new(key(1), PublicKey::new(LOW_ORDER));
    let ours = Properties::read(CLIENT).unwrap();
    let mut says = Vec::new();
    let begun = Client::new(config, None).begin(ours, &mut says);
    assert_eq!((begun, says.len()), (Err(weak()), 0));
    // That of the connection, from the client.
    let [mut hello, ..] = script();
    hello[80..80 + KEY].copy_from_slice(&LOW_ORDER);
    assert_eq!(hear(&mut server(), &hello, SERVER), Err(weak()));
    // That of the connection, from the server.
    let mut client = client();
    begin(&mut client);
    let agreed = agree(&key(2), &Seed::of([3; 144]).key().public()).unwrap();
    let mut sealed = Vec::new();
    let nonce = random(b"WELCOME-", &[0; 16]);
    agreed.seal_to(&nonce, &[&LOW_ORDER, &[0; COOKIE]], &mut sealed);
    let welcome = command(b"WELCOME", &[&[0; 16], &sealed]);
    assert_eq!(hear(&mut client, &welcome, CLIENT), Err(weak()));
}

#[test]
fn two_connections_share_no_key() {
    let config = CurveClient::new(key(1), key(2).public());
    let hello = || begin(&mut Client::new(config.clone(), None));
    let (one, other) = (hello(), hello());
    assert_ne!(one[80..112], other[80..112]);
}

#[test]
fn secrets_do_not_show() {
    let (client, server) = open();
    let shown = format!("{client:?} {server:?}");
    for byte in [1, 2] {
        assert!(!shown.contains(&**key(byte).to_z85()), "{shown}");
    }
    assert!(
        !shown.contains("[1, 1") && !shown.contains("[2, 2"),
        "{shown}"
    );
}
