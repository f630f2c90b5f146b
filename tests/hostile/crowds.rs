//! More peers than a listener may have.

use std::os::unix::net::UnixStream;
use std::time::Duration;

use numpush::transfer::{Budget, Refusal};
use numpush::{Error, Options};
use numpush_tests::{PATIENCE, TempPath, bytes};

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
