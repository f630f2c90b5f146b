//! Two ends that secure what they say: who may come in, and what goes through sealed frames.
#![cfg(feature = "curve")]
#![expect(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking, and joins bytes as it likes"
)]

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use numpush_zmtp::{
    Allowed, Command, CurveClient, CurveServer, Event, Fault, FrameHead, Frames, Inbound,
    LONGEST_HEAD, Limits, Login, Outbound, SEALED_LEAD, SealError, Sealing, SecretKey, Security,
    SocketKind, WayOut,
};

const LIMITS: Limits = Limits {
    message: 100_000,
    frames: 4,
    handshake: 2048,
    command: 300,
};

fn key(byte: u8) -> SecretKey {
    SecretKey::new([byte; 32])
}

fn curve_client(ours: u8, server: u8) -> Security {
    Security::CurveClient(CurveClient::new(key(ours), key(server).public()))
}

fn curve_server(allowed: &[u8]) -> Security {
    let keys: HashSet<_> = allowed.iter().map(|byte| key(*byte).public()).collect();
    Security::CurveServer(CurveServer::new(key(2), Allowed::Keys(Arc::new(keys))))
}

fn plain_client(password: &[u8]) -> Security {
    Security::PlainClient(Login::new(b"ann", password).unwrap())
}

fn plain_server() -> Security {
    Security::PlainServer(Arc::new([Login::new(b"ann", b"secret").unwrap()]))
}

fn end(kind: SocketKind, security: &Security) -> Inbound {
    Inbound::new(kind, security, LIMITS)
}

/// What a driver saw: events as text, and the data of frames.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    events: Vec<String>,
    data: Vec<(FrameHead, Vec<u8>)>,
}

/// Gives `bytes` to an end in pieces of at most `piece` bytes, and collects what they mean.
fn give(to: &mut Inbound, mut bytes: &[u8], piece: usize, seen: &mut Seen) -> Result<(), Fault> {
    loop {
        while let Some(event) = to.next()? {
            match event {
                Event::Frame(head) => {
                    let body = whole(to, head.len, &mut bytes);
                    seen.data.push((head, body));
                }
                Event::Sealed(len) => {
                    let mut body = whole(to, len, &mut bytes);
                    assert_eq!(to.next(), Ok(None), "it must be opened first");
                    let head = to.open(&mut body)?;
                    seen.data.push((head, body.split_off(SEALED_LEAD)));
                }
                event => seen.events.push(format!("{event:?}")),
            }
        }
        if bytes.is_empty() {
            return Ok(());
        }
        let spare = to.spare();
        let count = piece.min(bytes.len()).min(spare.len());
        spare[..count].copy_from_slice(&bytes[..count]);
        to.filled(count);
        bytes = &bytes[count..];
    }
}

/// The body at hand: what was read ahead, and the rest of it from `bytes`, straight to where it stays.
fn whole(to: &mut Inbound, len: u64, bytes: &mut &[u8]) -> Vec<u8> {
    let mut body = vec![0; len as usize];
    let at = to.take(&mut body);
    let (landed, rest) = bytes.split_at(body.len() - at);
    body[at..].copy_from_slice(landed);
    if to.lands() {
        to.landed(landed.len() as u64);
    }
    *bytes = rest;
    body
}

/// Lets both ends talk until neither has more to say.
fn talk(client: &mut Inbound, server: &mut Inbound, piece: usize) -> [Result<Seen, Fault>; 2] {
    let (mut here, mut there) = (Ok(Seen::default()), Ok(Seen::default()));
    loop {
        let (up, down) = (client.says(), server.says());
        if up.is_empty() && down.is_empty() {
            return [there, here];
        }
        here = here.and_then(|mut seen| give(server, &up, piece, &mut seen).map(|()| seen));
        there = there.and_then(|mut seen| give(client, &down, piece, &mut seen).map(|()| seen));
    }
}

/// Two ends of CURVE whose handshake is done, and what seals for them.
fn open() -> [(Inbound, Sealing); 2] {
    let mut client = end(SocketKind::Push, &curve_client(1, 2));
    let mut server = end(SocketKind::Pull, &curve_server(&[1]));
    for seen in talk(&mut client, &mut server, usize::MAX) {
        seen.unwrap();
    }
    [client, server].map(|mut end| {
        let sealing = sealing(&mut end);
        (end, sealing)
    })
}

/// What seals for an end that is ready. It is there once.
fn sealing(end: &mut Inbound) -> Sealing {
    let Some(WayOut::Sealed(sealing)) = end.way_out() else {
        panic!("it is not ready, or does not seal");
    };
    assert!(end.way_out().is_none());
    sealing
}

/// Writes what waits, in pieces of at most `piece` bytes.
fn written(outbound: &mut Outbound<Vec<u8>>, piece: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let mut slices = Vec::new();
        let count = outbound.gather(&mut slices, piece).unwrap();
        slices
            .iter()
            .for_each(|slice| bytes.extend_from_slice(slice));
        assert!(count <= piece);
        outbound.advance(count);
        if count == 0 {
            return bytes;
        }
    }
}

/// A message with a body that is copied on each side of one that is not.
fn message(size: usize) -> Frames<Vec<u8>> {
    let mut message = Frames::new();
    message.push_copy(b"", true);
    message.push(vec![7; size], true);
    message.push_copy(b"end", false);
    message
}

#[test]
fn who_may_come_in_comes_in_however_the_bytes_are_cut() {
    for (client, server, who) in [
        (plain_client(b"secret"), plain_server(), "ann".to_owned()),
        (
            curve_client(1, 2),
            curve_server(&[5, 1]),
            key(1).public().to_string(),
        ),
    ] {
        for piece in [1, 2, 3, 7, 64, 199, usize::MAX] {
            let mut one = end(SocketKind::Push, &client);
            let mut other = end(SocketKind::Pull, &server);
            let [there, here] = talk(&mut one, &mut other, piece).map(Result::unwrap);
            assert!(there.events.last().unwrap().contains("kind: Pull"));
            assert!(here.events.last().unwrap().contains("kind: Push"));
            assert_eq!(other.peer().as_ref(), Some(&who));
        }
    }
}

#[test]
fn who_may_not_is_told_so() {
    for (client, server) in [
        (plain_client(b"secre"), plain_server()),
        (curve_client(9, 2), curve_server(&[1])),
    ] {
        let mut one = end(SocketKind::Push, &client);
        let mut other = end(SocketKind::Pull, &server);
        let [there, here] = talk(&mut one, &mut other, usize::MAX);
        assert_eq!(there, Err(Fault::Refused("400".into())));
        let refused = here.unwrap_err();
        assert!(
            matches!(refused, Fault::Login(_) | Fault::NotAllowed(_)),
            "{refused}"
        );
        // It stays so.
        assert_eq!(other.next(), Err(refused));
        assert!(other.peer().is_none() && other.way_out().is_none());
    }
}

#[test]
fn two_of_one_role_and_two_mechanisms_are_refused() {
    let both = |one: &Security, other: &Security| {
        let mut one = end(SocketKind::Push, one);
        let mut other = end(SocketKind::Pull, other);
        talk(&mut one, &mut other, usize::MAX).map(Result::unwrap_err)
    };
    for one in [plain_server(), curve_server(&[])] {
        let servers = Fault::Violation("both sides want to be the server");
        assert_eq!(both(&one, &one), [servers.clone(), servers]);
    }
    for one in [plain_client(b"secret"), curve_client(1, 2)] {
        let clients = Fault::Violation("both sides want to be the client");
        assert_eq!(both(&one, &one), [clients.clone(), clients]);
    }
    for fault in both(&curve_client(1, 2), &plain_server()) {
        assert!(matches!(fault, Fault::Mechanism { .. }), "{fault}");
    }
    // Nobody goes on without a mechanism.
    let mut one = end(SocketKind::Push, &Security::Null);
    let mut other = end(SocketKind::Pull, &curve_server(&[]));
    let [there, here] = talk(&mut one, &mut other, usize::MAX).map(Result::unwrap_err);
    assert_eq!(
        here.to_string(),
        "it wants the mechanism \"NULL\", and this side CURVE"
    );
    assert_eq!(
        there.to_string(),
        "it wants the mechanism \"CURVE\", and this side NULL"
    );
}

#[test]
fn a_password_shows_nowhere_on_its_way() {
    let mut client = end(SocketKind::Push, &plain_client(b"secret"));
    let mut server = end(SocketKind::Pull, &plain_server());
    let greetings = [client.says(), server.says()];
    give(&mut client, &greetings[1], usize::MAX, &mut Seen::default()).unwrap();
    // It waits to be written.
    let mut shown = format!("{client:?}");
    let hello = client.says();
    let mut outbound = Outbound::<Vec<u8>>::default();
    outbound.push(Frames::of_handshake(hello.clone()));
    shown += &format!(
        "{outbound:?} {:?}",
        Frames::<Vec<u8>>::of_handshake(hello.clone())
    );
    // It has come, and was taken.
    for heard in [&greetings[0], &hello] {
        give(&mut server, heard, usize::MAX, &mut Seen::default()).unwrap();
    }
    shown += &format!("{server:?}");
    let bytes = format!("{:?}", b"secret");
    let bytes = bytes.trim_matches(['[', ']']);
    assert!(
        !shown.contains(bytes) && !shown.contains("secret"),
        "{shown}"
    );
    assert!(shown.contains("ann"), "{shown}");
}

#[test]
fn a_command_of_the_handshake_has_a_limit() {
    for (client, server) in [
        (plain_client(b"secret"), plain_server()),
        (curve_client(1, 2), curve_server(&[1])),
    ] {
        let mut server = end(SocketKind::Pull, &server);
        let mut bytes = end(SocketKind::Push, &client).says();
        FrameHead::command(LIMITS.handshake + 1).write(&mut bytes);
        let refused = give(&mut server, &bytes, usize::MAX, &mut Seen::default());
        assert_eq!(
            refused,
            Err(Fault::OverLimit {
                what: "a command",
                value: 2049,
                limit: 2048
            })
        );
    }
}

#[test]
fn sealed_messages_arrive_however_the_bytes_are_cut() {
    let sizes = [0, 1, 222, 223, 5000, 16_341, 16_342, 16_343, 60_000];
    for piece in [1, 33, 1000, usize::MAX] {
        let [(_, sealing), (mut server, _)] = open();
        let (mut outbound, mut meant) = (Outbound::default(), Vec::new());
        outbound.open(WayOut::Sealed(sealing));
        for size in sizes {
            outbound.push(message(size));
            let ping = Frames::of_command(&Command::Ping {
                ttl: 3,
                context: b"x",
            });
            outbound.push(ping);
            for (data, more) in [
                (vec![], true),
                (vec![7; size], true),
                (b"end".into(), false),
            ] {
                meant.push((FrameHead::message(data.len() as u64, more), data));
            }
        }
        let bytes = written(&mut outbound, piece);
        assert_eq!(outbound.left(), 0);
        let mut seen = Seen::default();
        give(&mut server, &bytes, piece, &mut seen).unwrap();
        assert_eq!(seen.events.len(), sizes.len());
        assert!(seen.events.iter().all(|event| event.contains("Ping")));
        assert_eq!(seen.data.len(), meant.len());
        for (seen, meant) in seen.data.iter().zip(&meant) {
            assert!(seen == meant, "{:?} and not {:?}", seen.0, meant.0);
        }
        assert!(server.is_idle());
    }
}

#[test]
fn nothing_goes_bare_where_frames_are_sealed() {
    let mut outbound = Outbound::default();
    outbound.push(message(20));
    outbound.push(Frames::of_command(&Command::Pong(b"x")));
    // The handshake is not done: the message waits.
    assert!(written(&mut outbound, usize::MAX).is_empty());
    let [(_, sealing), (mut server, _)] = open();
    outbound.open(WayOut::Sealed(sealing));
    let bytes = written(&mut outbound, usize::MAX);
    assert!(!bytes.windows(3).any(|bytes| bytes == b"end"));
    let mut seen = Seen::default();
    give(&mut server, &bytes, usize::MAX, &mut seen).unwrap();
    assert_eq!((seen.data.len(), seen.events.len()), (3, 1));

    // What the handshake says goes as it is, also where it still waits behind the way out.
    let [(_, sealing), _] = open();
    let mut outbound = Outbound::default();
    outbound.push(Frames::of_handshake(b"READY".into()));
    outbound.open(WayOut::Sealed(sealing));
    outbound.push(message(0));
    let bytes = written(&mut outbound, 3);
    assert!(bytes.starts_with(b"READY\0"));
    // A message that somebody has in hand is sealed too.
    let (mut in_hand, mut slices) = (message(5), Vec::new());
    let len = outbound.gather_of(&mut in_hand, &mut slices, usize::MAX);
    assert_eq!(len, Ok(3 * (2 + SEALED_LEAD) + 5 + 3));
}

/// What was not written whole goes to another peer, sealed for that one.
#[test]
fn a_message_is_sealed_for_the_peer_that_gets_it() {
    let [(_, sealing), _] = open();
    let mut first = Outbound::default();
    first.open(WayOut::Sealed(sealing));
    first.push(message(10));
    first.push(message(30_000));
    first.push(message(3));
    let mut slices = Vec::new();
    let count = first.gather(&mut slices, 10_000).unwrap();
    first.advance(count);
    assert!(first.begun() > 0);

    let [(_, sealing), (mut server, _)] = open();
    let mut second = Outbound::default();
    second.open(WayOut::Sealed(sealing));
    for frames in first.take_messages() {
        second.push(frames);
    }
    let mut seen = Seen::default();
    give(&mut server, &written(&mut second, 999), 999, &mut seen).unwrap();
    let lens: Vec<u64> = seen.data.iter().map(|(head, _)| head.len).collect();
    assert_eq!(lens, [0, 30_000, 3, 0, 3, 3]);
}

/// A message was sealed, and nothing of it written: what goes before it now is sealed later.
#[test]
fn what_is_queued_behind_others_is_sealed_behind_them() {
    let [(_, sealing), (mut server, _)] = open();
    let mut outbound = Outbound::default();
    outbound.open(WayOut::Sealed(sealing));
    let mut in_hand = message(9);
    outbound
        .gather_of(&mut in_hand, &mut Vec::new(), usize::MAX)
        .unwrap();
    outbound.push(Frames::of_command(&Command::Pong(b"x")));
    outbound.push(in_hand);
    let mut seen = Seen::default();
    give(&mut server, &written(&mut outbound, 7), 7, &mut seen).unwrap();
    assert_eq!((seen.data.len(), seen.events.len()), (3, 1));
}

#[test]
fn a_frame_for_which_there_is_no_memory_is_not_sealed() {
    let [(_, mut sealing), (mut server, _)] = open();
    let part: &[u8] = &[0; 1 << 20];
    // 2^47 bytes, more than a process can address.
    let part = &part.repeat(1 << 6)[..];
    let parts = vec![part; 1 << 21];
    let mut to = Vec::new();
    let head = FrameHead::message(0, false);
    let refused = sealing.seal(head, &parts, &mut to);
    assert!(
        matches!(refused, Err(SealError::NoMemory { .. })),
        "{refused:?}"
    );
    assert!(to.is_empty());
    // The next one goes.
    sealing.seal(head, &[b"hello"], &mut to).unwrap();
    give(&mut server, &to, usize::MAX, &mut Seen::default()).unwrap();
}

#[test]
fn a_sealed_frame_keeps_to_the_limits() {
    let refused = |frames: &[(FrameHead, usize)]| {
        let [(_, mut sealing), (mut server, _)] = open();
        let mut bytes = Vec::new();
        for (head, len) in frames {
            sealing.seal(*head, &[&vec![0; *len]], &mut bytes).unwrap();
        }
        give(&mut server, &bytes, usize::MAX, &mut Seen::default()).map_err(|it| it.to_string())
    };
    let (more, last) = (FrameHead::message(0, true), FrameHead::message(0, false));
    let command = FrameHead::command(0);
    assert_eq!(refused(&[(more, 60_000), (last, 40_000)]), Ok(()));
    let over = "a message of 100001 came, and the limit is 100000";
    assert_eq!(refused(&[(more, 60_000), (last, 40_001)]), Err(over.into()));
    assert_eq!(refused(&[(last, 100_001)]), Err(over.into()));
    assert_eq!(
        refused(&[(more, 0), (more, 0), (more, 0), (last, 0)]),
        Ok(())
    );
    let over = "a message in a number of frames of 5 came, and the limit is 4";
    for len in [0, 20_000] {
        let frames = [(more, 0), (more, 0), (more, 0), (more, 0), (last, len)];
        assert_eq!(refused(&frames), Err(over.into()));
    }
    let over = |len: usize| format!("a command of {len} came, and the limit is 300");
    assert_eq!(refused(&[(command, 301)]), Err(over(301)));
    assert_eq!(refused(&[(command, 20_000)]), Err(over(20_000)));
}

#[test]
fn nothing_goes_in_that_is_not_sealed() {
    let frame = |head: FrameHead, body: &[u8]| {
        let mut bytes = Vec::new();
        head.write(&mut bytes);
        bytes.extend(body);
        let [_, (mut server, _)] = open();
        let mut seen = Seen::default();
        let fault = give(&mut server, &bytes, usize::MAX, &mut seen).unwrap_err();
        assert_eq!(seen, Seen::default());
        assert_eq!(server.next(), Err(fault.clone()));
        fault
    };
    let bare = Fault::Violation("a frame came that is not sealed");
    assert_eq!(frame(FrameHead::message(5, false), b"hello"), bare);
    assert_eq!(frame(FrameHead::message(50, false), &[b'x'; 50]), bare);
    assert_eq!(
        frame(FrameHead::message(50_000, false), &[b'x'; 50_000]),
        bare
    );
    assert_eq!(frame(FrameHead::command(6), b"\x04PING\0"), bare);
    assert_eq!(frame(FrameHead::command(40), &[b'x'; 40]), bare);
}

#[test]
fn a_sealed_stream_that_is_repeated_or_reordered_is_refused() {
    for len in [3, 30_000] {
        let [(_, mut sealing), _] = open();
        let (mut one, mut other) = (Vec::new(), Vec::new());
        let head = FrameHead::message(0, false);
        sealing.seal(head, &[&vec![1; len]], &mut one).unwrap();
        sealing.seal(head, &[&vec![2; len]], &mut other).unwrap();
        // For another connection of the same two keys.
        let [_, (mut server, _)] = open();
        let elsewhere = give(&mut server, &one, usize::MAX, &mut Seen::default());
        assert_eq!(elsewhere, Err(Fault::Sealed("frame")));

        let [(_, mut sealing), (mut server, _)] = open();
        (one, other) = (Vec::new(), Vec::new());
        sealing.seal(head, &[&vec![1; len]], &mut one).unwrap();
        sealing.seal(head, &[&vec![2; len]], &mut other).unwrap();
        let mut seen = Seen::default();
        give(&mut server, &other, usize::MAX, &mut seen).unwrap();
        let refused = give(&mut server, &one, usize::MAX, &mut seen);
        assert_eq!(refused, Err(Fault::Repeated { number: 3, last: 4 }));
        assert_eq!(seen.data.len(), 1);
    }
}

#[test]
#[ignore = "prints figures: cargo test --release -p numpush-zmtp --test secured -- --ignored --nocapture"]
fn speed() {
    for len in [64, 1 << 10, 16 << 10, 64 << 10, 1 << 20, 64 << 20] {
        let mut client = Inbound::new(SocketKind::Push, &curve_client(1, 2), Limits::default());
        let mut server = Inbound::new(SocketKind::Pull, &curve_server(&[1]), Limits::default());
        for seen in talk(&mut client, &mut server, usize::MAX) {
            seen.unwrap();
        }
        let mut sealing = sealing(&mut client);
        let (data, mut sealed, mut body) = (vec![7; len], Vec::new(), vec![0; len + SEALED_LEAD]);
        let rounds = ((256 << 20) / len).clamp(4, 200_000);
        // The shortest time is that of a processor that does nothing else.
        let (mut seals, mut opens) = (Duration::MAX, Duration::MAX);
        for _ in 0..rounds {
            let start = Instant::now();
            sealed.clear();
            sealing
                .seal(FrameHead::message(0, false), &[&data], &mut sealed)
                .unwrap();
            seals = seals.min(start.elapsed());
            let ahead = if len < 16_000 {
                sealed.len()
            } else {
                LONGEST_HEAD
            };
            let (mut start, mut before) = (Instant::now(), Duration::ZERO);
            let mut rest = &sealed[..ahead];
            while !rest.is_empty() {
                assert!(rest.len() == ahead || server.next() == Ok(None));
                let count = server.spare().len().min(rest.len());
                server.spare()[..count].copy_from_slice(&rest[..count]);
                server.filled(count);
                rest = &rest[count..];
            }
            match server.next().unwrap().unwrap() {
                Event::Frame(_) => assert_eq!(server.take(&mut body), len),
                Event::Sealed(_) => {
                    before = start.elapsed();
                    // What recv(2) does.
                    body.copy_from_slice(&sealed[ahead..]);
                    server.landed(body.len() as u64);
                    start = Instant::now();
                    server.open(&mut body).unwrap();
                }
                other => panic!("{other:?}"),
            }
            opens = opens.min(before + start.elapsed());
        }
        let said = [seals, opens].map(|time| {
            let seconds = time.as_secs_f64();
            format!(
                "{:.2} GB/s, {:.2} us",
                len as f64 / seconds / 1e9,
                seconds * 1e6
            )
        });
        println!("{len:>9} B: seal {}; open {}", said[0], said[1]);
    }
}
