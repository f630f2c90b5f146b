//! One call of the victim fails with one error, in one run each.

use std::collections::BTreeMap;

use numpush_tests::{Ended, Verdict, can_trace};

use crate::stage::{Case, run};

/// Errors, and the calls that may have them. Those that say that the peer is gone come of peers that are: of the deaths.
const ERRORS: [(i32, &[&str]); 6] = [
    (
        libc::EINTR,
        &[
            "accept4",
            "epoll_wait",
            "fallocate",
            "flock",
            "ftruncate",
            "openat",
            "poll",
            "ppoll",
            "recvfrom",
            "recvmsg",
            "sendfile",
            "sendmsg",
        ],
    ),
    (
        libc::EAGAIN,
        &["accept4", "recvfrom", "recvmsg", "sendfile", "sendmsg"],
    ),
    (
        libc::ENOMEM,
        &[
            "accept4",
            "bind",
            "connect",
            "epoll_create1",
            "epoll_ctl",
            "eventfd2",
            "fallocate",
            "fcntl",
            "ftruncate",
            "getsockopt",
            "memfd_create",
            "poll",
            "ppoll",
            "recvfrom",
            "recvmsg",
            "sendfile",
            "sendmsg",
            "setsockopt",
            "socket",
            "timerfd_create",
        ],
    ),
    (libc::ENOSPC, &["epoll_ctl"]),
    (
        libc::ENOBUFS,
        &[
            "accept4",
            "getsockname",
            "getpeername",
            "sendmsg",
            "setsockopt",
            "socket",
        ],
    ),
    (
        libc::EMFILE,
        &[
            "accept4",
            "epoll_create1",
            "eventfd2",
            "memfd_create",
            "openat",
            "socket",
            "timerfd_create",
        ],
    ),
];

/// After such an error of such a call nothing is lost: whoever makes the call of the connection again comes to a good end.
const GOES_ON: [i32; 3] = [libc::EAGAIN, libc::ENOMEM, libc::ENOBUFS];
const MOVES: [&str; 4] = ["recvfrom", "recvmsg", "sendfile", "sendmsg"];

/// Lets each call of the victim fail with each error that it may have.
fn every_call(name: &'static str, case: Case) {
    if !can_trace(true) {
        return;
    }
    let mut seen: BTreeMap<(i32, &str, String), usize> = BTreeMap::new();
    for (scheme, (errno, calls)) in ["tcp", "unix"]
        .into_iter()
        .flat_map(|scheme| ERRORS.map(|error| (scheme, error)))
    {
        let case = Case {
            name,
            scheme,
            ..case
        };
        for nth in 0.. {
            let (mut passed, mut failed) = (0, "");
            let outcome = run(&case, |call, _| {
                passed += usize::from(calls.contains(&call));
                if passed <= nth || !failed.is_empty() {
                    return Verdict::Go;
                }
                failed = call;
                Verdict::Fail(errno)
            });
            let what =
                format!("{name} over {scheme}, call {nth}, {failed}, errno {errno}: {outcome:?}");
            assert!(outcome.survived && outcome.names.is_empty(), "{what}");
            assert_eq!(outcome.ended, Ended::Exited(0), "{what}");
            if failed.is_empty() {
                assert_eq!(outcome.said, "well", "{what}");
                break;
            }
            if GOES_ON.contains(&errno) && MOVES.contains(&failed) || errno == libc::EINTR {
                assert_eq!(outcome.said, "well", "{what}");
            }
            // What is watched no more is one connection, once there is a listener.
            if failed == "epoll_ctl" && name == "a_server_meets_every_error" {
                let begins = [
                    "cannot listen at",
                    "cannot set up a poller",
                    "cannot wait for a poller",
                ];
                let is_begun = !begins.iter().any(|text| outcome.said.contains(text));
                assert!(!is_begun || outcome.said == "well", "{what}");
            }
            let said = without_names(&outcome.said);
            *seen
                .entry((errno, failed, format!("{scheme} {said}")))
                .or_default() += 1;
        }
    }
    for ((errno, call, said), count) in &seen {
        println!("{count:3} x {call}, errno {errno}: {said}");
    }
}

/// Without addresses, which differ from run to run.
fn without_names(said: &str) -> String {
    let words = said.split(' ').map(|word| match word.contains('/') {
        true => "PEER",
        false => word,
    });
    words.collect::<Vec<_>>().join(" ")
}

cases! {
    a_sender_meets_every_error = sender, receiver;
    a_receiver_meets_every_error = receiver, sender;
    a_server_meets_every_error = server, client;
    an_acceptor_meets_every_error = acceptor, client;
    a_middleman_meets_every_error = middleman, both_ends;
    an_error_in_the_middle_of_a_message_loses_nothing = writer, reader;
}
