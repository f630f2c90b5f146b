//! The crate zmtp against libzmq: each mechanism, in each role, whoever binds.

mod end;
mod secrets;

use std::collections::HashSet;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;

use end::{End, Said};
use numpush_os::{fail_nth, kill_nth, stop_failing};
use numpush_tests::{Forked, PATIENCE, TempPath, eventually, not_run, python_with};
use numpush_zmtp::{
    Allowed, CurveClient, CurveServer, Fault, Login, SecretKey, Security, Seed, SocketKind,
};

/// A process over libzmq.
struct Libzmq {
    process: Child,
    out: BufReader<ChildStdout>,
}

impl Libzmq {
    fn start(python: &str, arguments: &[String]) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/zmtp/peer.py");
        let mut process = Command::new(python)
            .arg(script)
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(process.stdout.take().unwrap());
        Self { process, out }
    }

    /// Waits for its end. True if it is content.
    fn ends_well(&mut self) -> bool {
        let mut status = None;
        eventually("libzmq ends", || {
            status = self.process.try_wait().unwrap();
            status.is_some()
        });
        status.is_some_and(|status| status.success())
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}

impl Drop for Libzmq {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// An interpreter with a libzmq that can do all that is tested.
fn libzmq() -> Option<String> {
    let python = python_with("zmq")?;
    let asked = Command::new(&python)
        .args(["-c", "import sys, zmq; sys.exit(not zmq.has('curve'))"])
        .status();
    if !asked.unwrap().success() {
        not_run("the libzmq of Python was built without CURVE");
        return None;
    }
    Some(python)
}

/// How two ends secure their connection.
struct Pair {
    ours: Security,
    /// What the other process is told.
    theirs: Vec<String>,
}

fn words(words: &[(&str, &str)]) -> Vec<String> {
    let words = words.iter().map(|(name, value)| format!("{name}={value}"));
    words.collect()
}

fn login(password: &str) -> Login {
    Login::new(b"ann", password.as_bytes()).unwrap()
}

fn plain_client(password: &str) -> Pair {
    Pair {
        ours: Security::PlainClient(login(password)),
        theirs: words(&[
            ("mechanism", "PLAIN"),
            ("role", "server"),
            ("user", "ann"),
            ("password", "secret"),
        ]),
    }
}

fn plain_server(password: &str) -> Pair {
    Pair {
        ours: Security::PlainServer(Arc::new([login("secret")])),
        theirs: words(&[
            ("mechanism", "PLAIN"),
            ("role", "client"),
            ("user", "ann"),
            ("password", password),
        ]),
    }
}

fn key() -> SecretKey {
    SecretKey::generate().unwrap()
}

/// A client of CURVE. What it takes for the key of the server may be that of another one.
fn curve_client(ours: &SecretKey, allowed: &SecretKey, is_right: bool) -> Pair {
    let theirs = key();
    let server = if is_right { &theirs } else { ours };
    Pair {
        ours: Security::CurveClient(CurveClient::new(ours.clone(), server.public())),
        theirs: words(&[
            ("mechanism", "CURVE"),
            ("role", "server"),
            ("secret", &theirs.to_z85()),
            ("client", &allowed.public().to_string()),
        ]),
    }
}

fn curve_server(theirs: &SecretKey, allowed: &SecretKey, is_right: bool) -> Pair {
    let ours = key();
    let server = if is_right { &ours } else { theirs };
    let allowed = Allowed::Keys(Arc::new(HashSet::from([allowed.public()])));
    Pair {
        theirs: words(&[
            ("mechanism", "CURVE"),
            ("role", "client"),
            ("secret", &theirs.to_z85()),
            ("server", &server.public().to_string()),
        ]),
        ours: Security::CurveServer(CurveServer::new(ours, allowed)),
    }
}

/// Connects to a new process over libzmq.
fn connect(python: &str, pair: &Pair, kind: &str, we_bind: bool) -> (End<TcpStream>, Libzmq) {
    let mut arguments = pair.theirs.clone();
    arguments.push(format!("kind={kind}"));
    let ours = match kind {
        "SUB" => SocketKind::Pub,
        _ => SocketKind::Dealer,
    };
    if !we_bind {
        let mut libzmq = Libzmq::start(python, &arguments);
        let line = libzmq.line();
        let address = line.strip_prefix("bound ").expect("it binds");
        let socket = TcpStream::connect(address).unwrap();
        return (patient(socket, ours, &pair.ours), libzmq);
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    arguments.push(format!("connect={}", listener.local_addr().unwrap()));
    let libzmq = Libzmq::start(python, &arguments);
    let mut socket = None;
    eventually("libzmq connects", || {
        socket = socket.take().or_else(|| listener.accept().ok());
        socket.is_some()
    });
    let (socket, _) = socket.unwrap();
    socket.set_nonblocking(false).unwrap();
    (patient(socket, ours, &pair.ours), libzmq)
}

fn patient(socket: TcpStream, ours: SocketKind, security: &Security) -> End<TcpStream> {
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_write_timeout(Some(PATIENCE)).unwrap();
    End::new(socket, ours, security)
}

/// The next message; what else comes on the way is counted.
fn message(end: &mut End<TcpStream>, pings: &mut u32) -> Vec<Vec<u8>> {
    loop {
        match end.next().unwrap() {
            Said::Message(message) => return message,
            Said::Ping => *pings += 1,
            other => panic!("{other:?}"),
        }
    }
}

fn every_pair() -> [Pair; 5] {
    let (one, other) = (key(), key());
    [
        Pair {
            ours: Security::Null,
            theirs: words(&[("mechanism", "NULL")]),
        },
        plain_client("secret"),
        plain_server("secret"),
        curve_client(&one, &one, true),
        curve_server(&other, &other, true),
    ]
}

#[test]
fn messages_go_both_ways() {
    let Some(python) = libzmq() else {
        return;
    };
    for (pair, we_bind) in every_pair()
        .iter()
        .flat_map(|pair| [(pair, true), (pair, false)])
    {
        let (mut end, mut libzmq) = connect(&python, pair, "DEALER", we_bind);
        assert_eq!(end.next(), Ok(Said::Ready), "{:?}", pair.ours);
        assert_eq!(libzmq.line(), "handshake succeeded");
        let mut pings = 0;
        // Around the lengths at which a head grows, alone and sealed, and at which a frame is not read ahead any more.
        for len in [
            0,
            1,
            222,
            223,
            255,
            256,
            16_341,
            16_342,
            16_343,
            65_536,
            5 << 20,
        ] {
            let large: Vec<u8> = (0..=250).cycle().take(len).collect();
            let parts: [&[u8]; 4] = [b"", &large, b"", b"last"];
            end.send(&parts);
            assert!(message(&mut end, &mut pings) == parts, "{len}");
        }
        // It asks whether we are there, every 50 ms.
        while pings == 0 {
            assert_eq!(end.next(), Ok(Said::Ping));
            pings += 1;
        }
        end.send(&[b"end"]);
        assert!(libzmq.ends_well());
    }
}

#[test]
fn subscriptions_come_sealed_too() {
    let Some(python) = libzmq() else {
        return;
    };
    for pair in every_pair() {
        let (mut end, mut libzmq) = connect(&python, &pair, "SUB", true);
        assert_eq!(end.next(), Ok(Said::Ready));
        let mut said = end.next().unwrap();
        while said == Said::Ping {
            said = end.next().unwrap();
        }
        assert_eq!(said, Said::Subscribe(b"topic".into()));
        end.send(&[b"topic", b"news"]);
        assert_eq!(libzmq.line(), "handshake succeeded");
        assert_eq!(libzmq.line(), "received topic news");
    }
}

#[test]
fn the_client_of_libzmq_learns_that_it_is_refused() {
    let Some(python) = libzmq() else {
        return;
    };
    let (one, other) = (key(), key());
    for (pair, fault, said) in [
        // Up to 4.3 it knows the ERROR of PLAIN as its own source misspells it, and takes ours for a fault.
        (
            plain_server("secre"),
            Fault::Login("ann".into()),
            &["failed", "refused"][..],
        ),
        (
            curve_server(&one, &other, true),
            Fault::NotAllowed(one.public().to_string()),
            &["refused"],
        ),
        (
            curve_server(&one, &one, false),
            Fault::Sealed("HELLO"),
            &["failed"],
        ),
    ] {
        let (mut end, mut libzmq) = connect(&python, &pair, "DEALER", true);
        assert_eq!(end.next(), Err(fault));
        assert_eq!(end.peer(), None);
        drop(end);
        let line = libzmq.line();
        let how = line.strip_prefix("handshake ").unwrap();
        assert!(said.contains(&how), "{line}");
    }
}

#[test]
fn we_learn_that_libzmq_refuses_us() {
    let Some(python) = libzmq() else {
        return;
    };
    let (one, other) = (key(), key());
    for (pair, expected) in [
        (plain_client("secre"), Err(Fault::Refused("400".into()))),
        (
            curve_client(&one, &other, true),
            Err(Fault::Refused("400".into())),
        ),
        (curve_client(&one, &one, false), Ok(Said::Gone)),
    ] {
        let (mut end, _libzmq) = connect(&python, &pair, "DEALER", false);
        assert_eq!(end.next(), expected);
    }
}

#[test]
fn a_forked_child_makes_keys_of_its_own() {
    let made = TempPath::new("forked-key");
    // A generator in memory would be seeded now, and go on alike on both sides.
    key();
    let child = Forked::start(|| std::fs::write(&made.0, key().public().to_string()).is_ok());
    let ours = key().public().to_string();
    assert_eq!(child.exit_code(), Some(0));
    assert_ne!(std::fs::read_to_string(&made.0).unwrap(), ours);
}

/// The disk is full, or gone, when the keys are to be on it: whichever call fails, there is neither of them.
#[test]
fn keys_that_cannot_be_kept_leave_nothing_behind() {
    let folder = TempPath::new("keys");
    std::fs::create_dir(&folder.0).unwrap();
    let (path, mut failed) = (folder.0.join("server"), Vec::new());
    loop {
        fail_nth(failed.len(), libc::EIO);
        let written = numpush::keys::write(&path, &key());
        let Some(point) = stop_failing() else {
            written.unwrap();
            break;
        };
        failed.push(point.call);
        // A file without a name is not needed: there is another way.
        if point.call == "open" {
            written.unwrap();
            std::fs::remove_file(&path).unwrap();
            std::fs::remove_file(folder.0.join("server.pub")).unwrap();
            continue;
        }
        let said = format!("{} failed", point.call);
        assert!(written.unwrap_err().to_string().ends_with(&said));
        assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 0, "{said}");
    }
    // The files are on the disk before they have names, and the names at the end.
    let all = [
        "open", "fsync", "open", "fsync", "linkat", "linkat", "fsync",
    ];
    // Where no file can be without a name the last two are not asked for.
    let is_named = !failed.contains(&"linkat");
    assert!(failed == all || is_named, "{failed:?}");
    // No other test of this program lets calls fail at the same time.
    keys_of_who_is_killed_are_whole_or_not_there(&folder.0);
}

fn keys_of_who_is_killed_are_whole_or_not_there(folder: &Path) {
    for before in 0.. {
        let path = folder.join(format!("server-{before}"));
        let child = Forked::start(|| {
            kill_nth(before);
            numpush::keys::write(&path, &key()).is_ok()
        });
        let is_done = child.exit_code() == Some(0);
        let public = numpush::keys::read_public(&folder.join(format!("server-{before}.pub")));
        if path.exists() {
            let secret = numpush::keys::read_secret(&path).unwrap();
            assert!(public.is_err() && !is_done || public.unwrap() == secret.public());
        } else {
            assert!(public.is_err() && !is_done);
        }
        if is_done {
            return;
        }
    }
}

/// A peer that says what it once said, in pieces of at most so many bytes, and hears nothing.
struct Recording<'b>(&'b [u8], usize);

impl Read for Recording<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let len = to.len().min(self.1);
        self.0.read(&mut to[..len])
    }
}

impl Write for Recording<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn heard(security: &Security, bytes: &[u8], piece: usize) -> Vec<Vec<Vec<u8>>> {
    let recording = Recording(bytes, piece);
    let seed = Seed::of([if security.greeting().as_server { 4 } else { 3 }; 144]);
    let mut end = End::seeded(recording, SocketKind::Dealer, security, seed);
    let mut messages = Vec::new();
    loop {
        match end.next().unwrap() {
            Said::Message(message) => messages.push(message),
            Said::Gone => return messages,
            _ => {}
        }
    }
}

/// What libzmq once said, which is where fuzzing begins too: keys and random bytes are always the same here.
#[test]
fn what_libzmq_said_once_means_the_same_however_it_is_cut() {
    let [client, server] = [1, 2].map(|byte| SecretKey::new([byte; 32]));
    let curve = CurveClient::new(client.clone(), server.public());
    let allowed = Allowed::Keys(Arc::new(HashSet::from([client.public()])));
    let curve_server = CurveServer::new(server, allowed);
    let hello: [Vec<u8>; 3] = ["", "hello", ""].map(Into::into);
    let topic: [Vec<u8>; 2] = ["topic".into(), vec![7; 300]];
    let first: [Vec<_>; 2] = [hello.into(), topic.into()];
    for (file, security, messages) in [
        ("plain/client", Security::PlainClient(login("secret")), 2),
        (
            "plain/server",
            Security::PlainServer(Arc::new([login("secret")])),
            2,
        ),
        ("curve/client", Security::CurveClient(curve), 2),
        ("curve/server", Security::CurveServer(curve_server), 3),
    ] {
        let path = format!("{}/../fuzz/seeds/{file}", env!("CARGO_MANIFEST_DIR"));
        let bytes = std::fs::read(path).unwrap();
        for piece in [1, 7, 100, usize::MAX] {
            let heard = heard(&security, &bytes[1..], piece);
            assert_eq!(heard.len(), messages, "{file}");
            assert_eq!(heard[..2], first, "{file}");
            assert!(heard.get(2).is_none_or(|long| *long == [vec![7; 16_500]]));
        }
    }
}
