//! A fork of a process whose tasks have connections.

use numpush::Options;
use numpush::aio;
use numpush_tests::{Forked, Peer, again, bytes};

use crate::{pair, places, runtimes, within};

const ROLE: &str = "NUMPUSH_TEST_AIO_FORKS";

/// It shares the epoll instance with its parent: it took the parent's sockets out of it.
#[test]
fn a_child_that_drops_what_it_has_copied_takes_nothing_from_its_parent() {
    // In a process of its own: a fork of this one would copy the locks of other tests.
    if std::env::var_os(ROLE).is_none() {
        let name = "forks::a_child_that_drops_what_it_has_copied_takes_nothing_from_its_parent";
        return Peer::start(again(name).env(ROLE, "1")).ends_well();
    }
    let [runtime, _] = runtimes();
    runtime.block_on(async {
        for (endpoint, _place) in places() {
            let (near, mut far, listener) = pair(&endpoint, &Options::new()).await;
            let (mut near, mut listener) = (Some(near), Some(listener));
            let child = Forked::start(|| {
                drop(near.take());
                if endpoint.starts_with("tcp") {
                    drop(listener.take());
                }
                true
            });
            assert_eq!(child.exit_code(), Some(0));
            let (mut near, mut listener) = (near.unwrap(), listener.unwrap());
            for seed in 0..3 {
                let sent = async {
                    // The other one waits by now.
                    tokio::task::yield_now().await;
                    far.send(&bytes(10, seed)).await.unwrap();
                };
                let (received, ()) = tokio::join!(within(near.recv()), sent);
                assert_eq!(received.unwrap().message, bytes(10, seed));
            }
            let address = listener.address();
            let connected = async {
                tokio::task::yield_now().await;
                aio::connect(&address).await.unwrap()
            };
            let (accepted, _connected) = tokio::join!(within(listener.accept()), connected);
            accepted.unwrap();
        }
    });
}
