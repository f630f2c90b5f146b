//! More peers than a listener may have.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use numpush::transfer::{Budget, Refusal};
use numpush::{Error, Options};
use numpush_tests::{PATIENCE, Peer, TempPath, bytes, say, under};

use crate::ROLE;
use crate::raw::{hello, tcp};

/// M22: nothing limited the connections of a listener.
#[test]
fn connections_over_the_limit_wait_for_one_that_ends() {
    let place = TempPath::new("crowd");
    for endpoint in [
        "tcp://127.0.0.1:0".to_owned(),
        format!("unix:{}", place.0.display()),
    ] {
        let budget = Budget::new().max_connections(1);
        let options = Options::new().budget(budget.clone());
        let mut listener = options.listen(&endpoint).unwrap();
        let _first = numpush::connect(&listener.address()).unwrap();
        let accepted = listener.accept_for(PATIENCE).unwrap();
        let mut second = numpush::connect(&listener.address()).unwrap();
        let waited = listener.accept_for(Duration::from_millis(50));
        assert!(waited.unwrap_err().is_timeout());
        assert_eq!((budget.connections(), budget.handshakes()), (1, 0));
        drop(accepted);
        let mut accepted = listener.accept_for(PATIENCE).unwrap();
        second.send(&bytes(10, 1)).unwrap();
        assert!(accepted.recv().unwrap().message == bytes(10, 1));
        assert_eq!(listener.status().refused, 0);
        drop(accepted);
        numpush_tests::eventually("its place", || budget.connections() == 0);
    }
}

#[test]
fn who_comes_last_to_the_last_place_is_refused_by_name() {
    let place = TempPath::new("last");
    let options = Options::new().budget(Budget::new().max_connections(1));
    let mut listener = options
        .listen(&format!("unix:{}", place.0.display()))
        .unwrap();
    let clients = [0; 2].map(|_| numpush::connect(&listener.address()).unwrap());
    let _accepted = listener.accept_for(PATIENCE).unwrap();
    numpush_tests::eventually("a refusal", || {
        assert!(listener.try_accept().unwrap().is_none());
        listener.status().refused == 1
    });
    let error = format!("{:?}", listener.take_refused().unwrap());
    assert!(error.contains("over the limit of 1 connections"), "{error}");
    let refused = clients.into_iter().filter_map(|mut client| {
        client.set_timeouts(None, Some(Duration::from_millis(50)));
        let error = client.recv().unwrap_err();
        (!error.is_timeout()).then_some(error)
    });
    let refused: Vec<_> = refused.collect();
    let is_named = |error: &Error| format!("{error:?}").contains(&Refusal::Busy.to_string());
    assert!(refused.len() == 1 && is_named(&refused[0]), "{refused:?}");
}

#[test]
fn a_crowd_of_silent_peers_takes_no_more_than_its_handshakes() {
    let place = TempPath::new("silent");
    let budget = Budget::new().max_handshakes(4);
    let options = Options::new().budget(budget.clone());
    let mut listener = options
        .listen(&format!("unix:{}", place.0.display()))
        .unwrap();
    let mut silent = Vec::new();
    for _ in 0..40 {
        silent.push(UnixStream::connect(&place.0).unwrap());
        assert!(listener.try_accept().unwrap().is_none());
        assert!(budget.handshakes() <= 4);
    }
    let _good = numpush::connect(&listener.address()).unwrap();
    let _accepted = listener.accept_for(PATIENCE).unwrap();
    assert!(listener.status().refused >= 37);
    drop(listener);
    assert_eq!(budget.handshakes(), 0);
}

/// Connections of the measurement below. Each of its two processes has a descriptor for each.
const IDLE: usize = 10_000;

/// What idle connections cost a process: 39 MiB, 4,109 bytes each, in a development build. Run it alone, with a hard limit of 11,000 descriptors at least.
#[test]
#[ignore = "a measurement"]
fn ten_thousand_idle_connections() {
    let wrapper = ["sh", "-c", "ulimit -n 11000 && exec \"$0\" \"$@\""];
    let start = |role: &str, address: &str| {
        let mut command = under(&wrapper, "peer");
        command.env(ROLE, role).env("NUMPUSH_TEST_ADDRESS", address);
        Peer::start(&mut command)
    };
    let mut server = start("idle-server", "");
    let address = server.hears("address");
    let peers = start("idle-peers", &address);
    let kib: usize = server.hears("kib").parse().unwrap();
    println!(
        "{IDLE} idle connections: {kib} KiB, {} bytes each",
        kib * 1024 / IDLE
    );
    server.ends_well();
    peers.ends_well();
    assert!(kib < 64 << 10, "{kib} KiB");
}

pub(crate) fn idle_server() {
    let (mut listener, address) = tcp();
    let before = resident();
    say("address", address);
    let accept = |_| listener.accept_for(PATIENCE).unwrap();
    let connections: Vec<_> = (0..IDLE).map(accept).collect();
    say("kib", resident() - before);
    // To leave them in good order would take a delayed acknowledgement each.
    let _connections = std::mem::ManuallyDrop::new(connections);
}

pub(crate) fn idle_peers() {
    let address = std::env::var("NUMPUSH_TEST_ADDRESS").unwrap();
    let connect = |_| {
        let mut peer = TcpStream::connect(&address).unwrap();
        peer.write_all(&hello(false)).unwrap();
        peer
    };
    let mut peers: Vec<_> = (0..IDLE).map(connect).collect();
    // Until the server ends.
    let _ = peers[IDLE - 1].read_to_end(&mut Vec::new());
}

/// Resident KiB of this process.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let text = line.unwrap().trim().trim_end_matches(" kB");
    text.parse().unwrap()
}

/// Strangers at one listener took all handshakes that another one shares with it.
#[test]
fn strangers_at_one_door_keep_nobody_out_of_another() {
    let options = Options::new().budget(Budget::new().max_handshakes(1));
    let mut busy = options.listen("tcp://127.0.0.1:0").unwrap();
    let mut other = options.listen("tcp://127.0.0.1:0").unwrap();
    let _stranger = TcpStream::connect(busy.address().replace("tcp://", "")).unwrap();
    numpush_tests::eventually("the stranger is waited for", || {
        assert!(busy.try_accept().unwrap().is_none());
        busy.status().handshakes == 1
    });
    let mut near = numpush::connect(&other.address()).unwrap();
    let mut far = other.accept_for(PATIENCE).unwrap();
    near.send(&bytes(10, 1)).unwrap();
    assert_eq!(far.recv().unwrap().message, bytes(10, 1));
}
