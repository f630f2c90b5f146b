//! A stream of bytes is read the same however it is cut, and nothing in it is believed.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking, and joins bytes as it likes"
)]

use numpush_zmtp::{
    Command, Event, Fault, FrameHead, Greeting, Inbound, Limits, Mechanism, Properties, Property,
    Security, SocketKind,
};

fn pull(limits: Limits) -> Inbound {
    Inbound::new(SocketKind::Pull, &Security::Null, limits)
}

fn greeting_and_ready(kind: &str) -> Vec<u8> {
    let mut bytes = Greeting::new(Mechanism::Null, false).to_bytes().to_vec();
    let mut properties = Vec::new();
    for (name, value) in [("Socket-Type", kind.as_bytes()), ("Identity", b"")] {
        Properties::write(&mut properties, Property { name, value }).unwrap();
    }
    Command::Ready(Properties::read(&properties).unwrap()).write(&mut bytes);
    bytes
}

fn frame(bytes: &mut Vec<u8>, body: &[u8], more: bool) {
    FrameHead::message(body.len() as u64, more).write(bytes);
    bytes.extend(body);
}

/// Reads `bytes` in pieces of at most `piece` bytes, and says what came: bodies to their place if `lands`.
fn read(
    inbound: &mut Inbound,
    mut bytes: &[u8],
    piece: usize,
    lands: bool,
) -> Result<Vec<String>, Fault> {
    let mut said = Vec::new();
    let mut body = Vec::new();
    let mut at = 0;
    loop {
        if inbound.body_left() > 0 {
            at += inbound.take(&mut body[at..]);
        } else if let Some(event) = inbound.next()? {
            if let Event::Frame(head) = event {
                body = vec![0; head.len as usize];
                at = 0;
            }
            said.push(match event {
                Event::Frame(head) => format!("frame of {}, more {}", head.len, head.more),
                event => format!("{event:?}"),
            });
            continue;
        }
        if inbound.body_left() == 0 && !body.is_empty() {
            said.push(format!("{:?}", std::mem::take(&mut body)));
            continue;
        }
        if bytes.is_empty() {
            return Ok(said);
        }
        let to = if lands && inbound.lands() {
            &mut body[at..]
        } else {
            inbound.spare()
        };
        assert!(!to.is_empty(), "there is room for a read");
        let count = piece.min(bytes.len()).min(to.len());
        let (now, later) = bytes.split_at(count);
        to[..count].copy_from_slice(now);
        bytes = later;
        if lands && inbound.lands() {
            inbound.landed(count as u64);
            at += count;
        } else {
            inbound.filled(count);
        }
    }
}

#[test]
fn a_stream_says_the_same_however_it_is_cut() {
    let mut bytes = greeting_and_ready("PUSH");
    frame(&mut bytes, b"", false);
    frame(&mut bytes, b"topic", true);
    frame(&mut bytes, &[7; 300], false);
    Command::Ping {
        ttl: 3,
        context: b"c",
    }
    .write(&mut bytes);
    frame(&mut bytes, &vec![1; 20_000], true);
    Command::Subscribe(&[9; 4000]).write(&mut bytes);
    frame(&mut bytes, b"x", false);
    let whole = read(&mut pull(Limits::default()), &bytes, usize::MAX, false).unwrap();
    // A greeting, READY, five frames, the bodies of four, and two commands.
    assert_eq!(whole.len(), 2 + 5 + 4 + 2, "{whole:?}");
    for piece in [1, 2, 3, 7, 63, 64, 65, 255, 1000, 16_384, 30_000] {
        for lands in [false, true] {
            let mut inbound = pull(Limits::default());
            let said = read(&mut inbound, &bytes, piece, lands);
            assert_eq!(said.as_ref(), Ok(&whole), "{piece} {lands}");
            assert!(inbound.is_idle());
        }
    }
}

#[test]
fn a_peer_holds_no_more_than_its_limits() {
    let limits = Limits {
        message: 1000,
        frames: 3,
        ..Limits::default()
    };
    let refused = |more: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = greeting_and_ready("PUSH");
        more(&mut bytes);
        let mut inbound = pull(limits);
        let fault = read(&mut inbound, &bytes, 100, false).unwrap_err();
        // It stays as it is.
        assert_eq!(inbound.next().unwrap_err(), fault);
        fault
    };
    for over in [1001, (1 << 63) - 1] {
        let fault = refused(&|bytes| FrameHead::message(over, false).write(bytes));
        assert!(matches!(fault, Fault::OverLimit { value, limit: 1000, .. } if value == over));
    }
    let sum = refused(&|bytes| {
        frame(bytes, &[0; 600], true);
        frame(bytes, &[0; 401], false);
    });
    assert!(matches!(sum, Fault::OverLimit { value: 1001, .. }));
    let many = refused(&|bytes| (0..4).for_each(|_| frame(bytes, b"", true)));
    assert!(matches!(
        many,
        Fault::OverLimit {
            value: 4,
            limit: 3,
            ..
        }
    ));
    let long = refused(&|bytes| FrameHead::command(4097).write(bytes));
    assert!(matches!(
        long,
        Fault::OverLimit {
            value: 4097,
            limit: 4096,
            ..
        }
    ));
    let said = refused(&|bytes| Command::Error(b"no place").write(bytes));
    assert_eq!(said, Fault::Refused("no place".into()));
}

#[test]
fn a_handshake_that_does_not_fit_is_named() {
    let after_greeting = |bytes: &[u8]| {
        let mut all = Greeting::new(Mechanism::Null, false).to_bytes().to_vec();
        all.extend(bytes);
        read(&mut pull(Limits::default()), &all, 9, false).unwrap_err()
    };
    let ready = |kind: &str| after_greeting(&greeting_and_ready(kind)[64..]);
    assert_eq!(
        ready("SUB"),
        Fault::Kind {
            theirs: "SUB",
            ours: "PULL"
        }
    );
    assert_eq!(ready("push"), Fault::UnknownKind("push".into()));
    let mut early = Vec::new();
    frame(&mut early, b"x", false);
    assert!(matches!(after_greeting(&early), Fault::Violation(_)));
    let mut early = Vec::new();
    Command::Pong(b"").write(&mut early);
    assert!(matches!(after_greeting(&early), Fault::Violation(_)));
    let mut long = Vec::new();
    FrameHead::command(2049).write(&mut long);
    assert!(matches!(
        after_greeting(&long),
        Fault::OverLimit { limit: 2048, .. }
    ));
    let web = read(&mut pull(Limits::default()), b"GET / HTTP/1.1", 1, false);
    assert_eq!(web, Err(Fault::NotZmtp(b"G".to_vec())));
}
