//! CURVE and PLAIN, with libzmq and among ourselves: who may come in does, nobody else does, and nothing shows a secret.

use std::collections::HashSet;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use numpush::keys::{self, Allowed, Curve, Plain, SecretKey};
use numpush::{Connection, Error, Message, Options};
use numpush_tests::{Peer, TempPath, bytes, every_dtype, python_with};

use crate::interop::goes_through;
use crate::kinds::options;

/// Passes on what it gets. Its arguments: bind or connect and where, to receive and to send; and what secures both sockets.
const RELAY: &str = r#"
import sys, zmq
from zmq.auth.thread import ThreadAuthenticator
mechanism, role, secret, other = sys.argv[5:9]
class Allowed:
    def callback(self, domain, key):
        return key == other.encode()
context = zmq.Context()
pull, push = context.socket(zmq.PULL), context.socket(zmq.PUSH)
for socket in (pull, push):
    if mechanism == "PLAIN":
        socket.plain_server = role == "server"
        if role == "client":
            socket.plain_username, socket.plain_password = other.encode(), secret.encode()
    else:
        socket.curve_server = role == "server"
        socket.curve_secretkey, socket.curve_publickey = secret.encode(), zmq.curve_public(secret.encode())
        if role == "client":
            socket.curve_serverkey = other.encode()
if role == "server":
    judge = ThreadAuthenticator(context)
    judge.start()
    judge.configure_plain(domain="*", passwords={other: secret})
    judge.configure_curve_callback(domain="*", credentials_provider=Allowed())
for word, socket, how, where in (("pull", pull, *sys.argv[1:3]), ("push", push, *sys.argv[3:5])):
    getattr(socket, how)(where)
    print(f"{word}: {socket.getsockopt_string(zmq.LAST_ENDPOINT)}", flush=True)
while True:
    push.send_multipart(pull.recv_multipart(copy=False), copy=False)
"#;

fn relay(python: &str, sockets: [&str; 4], secured: &[String; 4]) -> Peer {
    let mut command = Command::new(python);
    Peer::start(command.args(["-c", RELAY]).args(sockets).args(secured))
}

pub(crate) fn key() -> SecretKey {
    SecretKey::generate().unwrap()
}

pub(crate) fn only(client: &SecretKey) -> Allowed {
    Allowed::Keys(HashSet::from([client.public()]).into())
}

/// A client and a server that know each other.
fn pair() -> [Options; 2] {
    let (here, there) = (key(), key());
    let server = Curve::server(here.clone(), only(&there));
    [
        options().curve(Curve::client(there, here.public())),
        options().curve(server),
    ]
}

fn plain_pair() -> [Options; 2] {
    let client = Plain::client("ann", "secret").unwrap();
    let server = Plain::server([("bob", "x"), ("ann", "secret")]).unwrap();
    [options().plain(client), options().plain(server)]
}

/// What secures our side, and what libzmq is told.
fn with_libzmq() -> Vec<(Options, [String; 4])> {
    let words = |words: [&str; 4]| words.map(str::to_owned);
    let (ours, theirs) = (key(), key());
    let [secret, public] = [theirs.to_z85().to_string(), ours.public().to_string()];
    let [client, server] = plain_pair();
    vec![
        (
            options().curve(Curve::client(ours.clone(), theirs.public())),
            words(["CURVE", "server", &secret, &public]),
        ),
        (
            options().curve(Curve::server(ours, only(&theirs))),
            words(["CURVE", "client", &secret, &public]),
        ),
        (client, words(["PLAIN", "server", "secret", "ann"])),
        (server, words(["PLAIN", "client", "secret", "ann"])),
    ]
}

/// Sizes around those where the head of a frame grows, where it is not read ahead any more, and where it lands.
fn messages() -> Vec<Message<'static>> {
    let sizes = [
        0,
        1,
        222,
        223,
        255,
        16_341,
        16_342,
        16_343,
        16_384,
        65_535,
        65_536,
        65_537,
        1 << 20,
        10,
        20 << 20,
    ];
    let sized = sizes.into_iter().zip(1..).map(|(len, seed)| {
        let message = bytes(len, seed);
        message.with_attribute("size", len.to_string())
    });
    let long = bytes(10, 1).with_attribute("long", "x".repeat(40_000));
    let mut messages = every_dtype();
    messages.extend(sized);
    messages.extend([columns(), long, bytes(3, 1)]);
    messages
}

/// A table whose buffers end where the next begin, or nearly, of all sizes.
fn columns() -> Message<'static> {
    use numpush::model::{Column, ColumnData, ColumnType};
    use numpush::{Buffer, Frame};
    let rows = 16_384;
    let columns = (0..5).map(|index| {
        let values: Vec<u8> = (0..=250).cycle().skip(index).take(rows * 8).collect();
        let validity = match index {
            1 => vec![0xff; rows / 8].into(),
            _ => Buffer::default(),
        };
        let buffers = vec![validity, values.into()];
        let data = ColumnData::new(ColumnType::Float64, rows, buffers).unwrap();
        Column::new(format!("column {index}"), data).unwrap()
    });
    Message::from(Frame::new(columns.collect()).unwrap())
}

fn all_go_through(sender: Connection, receiver: &mut Connection) {
    goes_through(sender, receiver, &messages(), |_, _| {});
}

#[test]
fn libzmq_takes_and_sends_what_is_secured() {
    let Some(python) = python_with("zmq") else {
        return;
    };
    for (options, secured) in with_libzmq() {
        let everywhere = "tcp://127.0.0.1:*";
        let mut bound = relay(&python, ["bind", everywhere, "bind", everywhere], &secured);
        let (pull, push) = (bound.hears("pull"), bound.hears("push"));
        let sender = options.connect(&format!("zmq+{pull}")).unwrap();
        let endpoint = format!("zmq+{push}?socket=pull");
        all_go_through(sender, &mut options.connect(&endpoint).unwrap());

        let mut taker = options.listen("zmq+tcp://127.0.0.1:0?socket=push").unwrap();
        let mut giver = options.listen("zmq+tcp://127.0.0.1:0").unwrap();
        let (from, to) = (taker.address(), giver.address());
        let [from, to] = [&from, &to].map(|address| address.trim_start_matches("zmq+"));
        let _relay = relay(&python, ["connect", from, "connect", to], &secured);
        let sender = taker.accept().unwrap();
        all_go_through(sender, &mut giver.accept().unwrap());
    }
}

#[test]
fn libzmq_refuses_us_and_we_refuse_it() {
    let Some(python) = python_with("zmq") else {
        return;
    };
    let (ours, theirs, other) = (key(), key(), key());
    let secret = theirs.to_z85().to_string();
    let everywhere = "tcp://127.0.0.1:*";
    // It lets in who is not us, and says so.
    let secured = ["CURVE", "server", &secret, &other.public().to_string()].map(str::to_owned);
    let mut bound = relay(&python, ["bind", everywhere, "bind", everywhere], &secured);
    let pull = format!("zmq+{}", bound.hears("pull"));
    let client = options().curve(Curve::client(ours.clone(), theirs.public()));
    let refused = client.connect(&pull).unwrap_err();
    assert!(matches!(refused, Error::Handshake { .. }), "{refused:?}");
    assert!(format!("{refused:?}").contains("400"), "{refused:?}");
    // A client without keys is none either. It is not told, so that it would try as long as it may.
    let short = options().connect_timeout(Duration::from_millis(100));
    assert!(short.connect(&pull).is_err());

    // It is not the one that we let in.
    let server = options().curve(Curve::server(ours.clone(), only(&other)));
    let mut listener = server.listen("zmq+tcp://127.0.0.1:0").unwrap();
    let to = listener.address();
    let to = to.trim_start_matches("zmq+");
    let secured = ["CURVE", "client", &secret, &ours.public().to_string()].map(str::to_owned);
    let _relay = relay(&python, ["connect", to, "connect", to], &secured);
    let mut refused = None;
    numpush_tests::eventually("a refusal", || {
        refused = listener.take_refused();
        refused.is_some()
    });
    let said = format!("{:?}", refused.unwrap());
    let why = format!("no client with the key {} is allowed", theirs.public());
    assert!(said.contains(&why), "{said}");
}

#[test]
fn what_is_secured_goes_among_ourselves() {
    for [one, other] in [pair(), plain_pair()] {
        for [client, server] in [[&one, &other], [&other, &one]] {
            let mut listener = server.listen("zmq+tcp://127.0.0.1:0").unwrap();
            let sender = client.connect(&listener.address()).unwrap();
            all_go_through(sender, &mut listener.accept().unwrap());
        }
        let mut listener = other.listen("zmq+tcp://127.0.0.1:0?socket=rep").unwrap();
        let endpoint = format!("{}?socket=req", listener.address());
        let mut asks = one.connect(&endpoint).unwrap();
        let mut answers = listener.accept().unwrap();
        for message in messages() {
            asks.send(&message).unwrap();
            assert!(answers.recv().unwrap().message == message);
            answers.send(&message).unwrap();
            assert!(asks.recv().unwrap().message == message);
        }
        let mut listener = other.listen("zmq+tcp://127.0.0.1:0?socket=pub").unwrap();
        let endpoint = format!("{}?socket=sub", listener.address());
        let mut subscribers = [(); 2].map(|()| one.connect(&endpoint).unwrap());
        let mut publisher = listener.accept().unwrap();
        for subscriber in &mut subscribers {
            numpush_tests::eventually("a message", || {
                publisher.send(&bytes(1, 1)).unwrap();
                subscriber.try_recv().is_ok()
            });
            while subscriber.try_recv().is_ok() {}
        }
        for message in messages() {
            publisher.send(&message).unwrap();
            for subscriber in &mut subscribers {
                let mut came = subscriber.recv().unwrap().message;
                while came == bytes(1, 1) && message != bytes(1, 1) {
                    came = subscriber.recv().unwrap().message;
                }
                assert!(came == message);
            }
        }
    }
}

/// An answer that comes when nobody waits for it any more passes by, though it has to be opened for that.
#[test]
fn a_late_answer_passes_by_sealed_too() {
    let [one, other] = pair();
    let mut listener = other.listen("zmq+tcp://127.0.0.1:0?socket=rep").unwrap();
    let endpoint = format!("{}?socket=req", listener.address());
    let one = one.recv_timeout(Duration::from_millis(5));
    let mut asks = one.connect(&endpoint).unwrap();
    let mut answers = listener.accept().unwrap();
    for seed in 1..10 {
        asks.send(&bytes(10, seed)).unwrap();
        // The last answer may have come so late that it is the one to this question.
        let _ = asks.recv();
        answers.recv().unwrap();
        answers.send(&columns()).unwrap();
    }
    asks.send(&bytes(10, 10)).unwrap();
    answers.recv().unwrap();
    answers.send(&columns()).unwrap();
    numpush_tests::eventually("an answer", || {
        asks.recv().is_ok_and(|it| it.message == columns())
    });
}

#[test]
fn who_has_another_key_does_not_come_in() {
    let [client, server] = pair();
    let [stranger, _] = pair();
    let mut listener = server.listen("zmq+tcp://127.0.0.1:0").unwrap();
    let address = listener.address();
    // It takes another for the server: nothing that it says can be read.
    let short = Duration::from_millis(200);
    let refused = stranger.connect_timeout(short).connect(&address);
    assert!(refused.is_err());
    let mut refused = None;
    numpush_tests::eventually("a refusal", || {
        refused = listener.take_refused();
        refused.is_some()
    });
    let said = format!("{:?}", refused.unwrap());
    assert!(said.contains("its HELLO cannot be opened"), "{said}");
    while listener.take_refused().is_some() {}
    for wrong in [plain_pair()[0].clone(), options()] {
        let refused = wrong.connect(&address).unwrap_err();
        assert!(matches!(refused, Error::Handshake { .. }), "{refused:?}");
    }
    let wrong = options().plain(Plain::client("ann", "secre").unwrap());
    let listens = plain_pair()[1].listen("zmq+tcp://127.0.0.1:0").unwrap();
    let refused = wrong.connect(&listens.address()).unwrap_err();
    assert!(format!("{refused:?}").contains("400"), "{refused:?}");
    // Nobody who was refused has ended anything.
    let mut sender = client.connect(&address).unwrap();
    sender.send(&bytes(10, 1)).unwrap();
    let received = listener.accept().unwrap().recv().unwrap();
    assert!(received.message == bytes(10, 1));
}

/// A message whose peer went before it had it whole is sealed again for the one that comes.
#[test]
fn a_message_outlives_the_peer_that_had_a_part_of_it() {
    let [client, server] = pair();
    let server = server.window(1 << 30);
    let mut listener = server.listen("zmq+tcp://127.0.0.1:0?socket=push").unwrap();
    let endpoint = format!("{}?socket=pull", listener.address());
    let first = client.connect(&endpoint).unwrap();
    let mut sender = listener.accept().unwrap();
    // More than the kernel takes: a part of it goes.
    sender.send(&bytes(64 << 20, 1)).unwrap();
    drop(first);
    let mut second = client.connect(&endpoint).unwrap();
    assert!(second.recv().unwrap().message == bytes(64 << 20, 1));
}

fn put(path: &std::path::Path, text: &str, mode: u32) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

#[test]
fn an_endpoint_names_the_files_with_keys() {
    let folder = TempPath::new("secured");
    std::fs::create_dir(&folder.0).unwrap();
    let [here, there, allowed, login, logins] =
        ["here", "there", "allowed", "login", "logins"].map(|name| folder.0.join(name));
    let (ours, theirs) = (key(), key());
    let public = keys::write(&here, &ours).unwrap();
    keys::write(&there, &theirs).unwrap();
    put(&allowed, &format!("{} ann\n", theirs.public()), 0o644);
    put(&login, "ann secret\n", 0o600);
    put(&logins, "bob x\nann secret\n", 0o600);
    let [here, there, allowed, login, logins, public] =
        [here, there, allowed, login, logins, public].map(|path| path.display().to_string());

    // Every address, as each peer proves a key that is known.
    let server = format!("zmq+tcp://0.0.0.0:0?key={here}&allow={allowed}");
    let mut listener = options().listen(&server).unwrap();
    let port = listener.address().rsplit(':').next().unwrap().to_owned();
    let to = format!("zmq+tcp://127.0.0.1:{port}");
    let endpoint = format!("{to}?key={there}&server={public}");
    let mut sender = options().connect(&endpoint).unwrap();
    // It is not read again.
    std::fs::remove_file(&there).unwrap();
    sender.send(&bytes(100, 1)).unwrap();
    assert!(listener.accept().unwrap().recv().unwrap().message == bytes(100, 1));

    let mut listener = options()
        .listen(&format!("zmq+tcp://127.0.0.1:0?login={logins}"))
        .unwrap();
    let endpoint = format!("{}?login={login}", listener.address());
    options()
        .connect(&endpoint)
        .unwrap()
        .send(&bytes(100, 2))
        .unwrap();
    assert!(listener.accept().unwrap().recv().unwrap().message == bytes(100, 2));

    // Everybody may know a public key, and read a password.
    for open in [
        format!("key={here}&allow=anybody"),
        format!("login={logins}"),
    ] {
        let refused = options()
            .listen(&format!("zmq+tcp://0.0.0.0:0?{open}"))
            .unwrap_err();
        assert!(refused.to_string().contains("?trusted=1"), "{refused}");
        let trusted = format!("zmq+tcp://0.0.0.0:0?{open}&trusted=1");
        drop(options().listen(&trusted).unwrap());
    }
    for wrong in [
        format!("key={here}"),
        format!("server={public}"),
        format!("allow={allowed}"),
        format!("key={here}&server={public}&allow={allowed}"),
        format!("key={here}&allow={allowed}&login={logins}"),
        "key=".to_owned(),
    ] {
        let refused = options().listen(&format!("zmq+tcp://127.0.0.1:0?{wrong}"));
        assert!(matches!(refused, Err(Error::Endpoint(_))), "{wrong}");
    }
    put(folder.0.join("here").as_path(), "x", 0o644);
    let refused = options().listen(&server).unwrap_err();
    assert!(matches!(refused, Error::Keys(_)), "{refused}");
    assert!(refused.to_string().contains("others may read"), "{refused}");
}

#[test]
fn nothing_shows_a_secret() {
    let (ours, theirs) = (key(), key());
    let secret = theirs.to_z85();
    let curve = Curve::client(theirs.clone(), ours.public());
    let plain = Plain::client("ann", "secret").unwrap();
    let mut shown = format!("{curve:?} {plain:?} {theirs:?}");
    let [client, server] = pair();
    let mut listener = server.listen("zmq+tcp://127.0.0.1:0").unwrap();
    for options in [
        options().curve(curve).connect_timeout(Duration::ZERO),
        options().plain(plain).connect_timeout(Duration::ZERO),
    ] {
        shown += &format!("{options:?} {:?}", options.connect(&listener.address()));
    }
    let sender = client.connect(&listener.address()).unwrap();
    shown += &format!("{sender:?} {listener:?} {:?}", listener.accept().unwrap());
    while let Some(refused) = listener.take_refused() {
        shown += &format!("{refused:?}");
    }
    let bytes = format!("{:?}", &b"secret"[..]);
    assert!(
        !shown.contains(secret.as_str()) && !shown.contains("secret"),
        "{shown}"
    );
    assert!(!shown.contains(bytes.trim_matches(['[', ']'])), "{shown}");
}

/// Who asks for keys does not get a connection without.
#[test]
fn keys_are_not_ignored_over_tcp() {
    let listener = options().listen("tcp://127.0.0.1:0").unwrap();
    for options in pair().into_iter().chain(plain_pair()) {
        for refused in [
            options.connect(&listener.address()).map(drop),
            options.listen("tcp://127.0.0.1:0").map(drop),
        ] {
            assert!(matches!(refused, Err(Error::Endpoint(_))), "{refused:?}");
        }
    }
}
