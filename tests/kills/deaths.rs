//! The victim is killed before each of its calls, one run each.

use nix::sys::signal::Signal;
use numpush_tests::{Ended, Verdict, can_trace};

use crate::stage::{Case, run};

/// Kills the victim before each of its calls, until a run has no such call.
fn every_call(name: &'static str, case: Case) {
    if !can_trace(false) {
        return;
    }
    for scheme in ["tcp", "unix"] {
        let case = Case {
            name,
            scheme,
            ..case
        };
        let (mut deaths, mut at) = (0, "");
        for nth in 0.. {
            let mut passed = 0;
            let outcome = run(&case, |call, _| {
                passed += 1;
                if passed <= nth {
                    return Verdict::Go;
                }
                at = call;
                Verdict::Kill
            });
            let what = format!("{name} over {scheme}, before call {nth}, {at}: {outcome:?}");
            assert!(outcome.survived && outcome.names.is_empty(), "{what}");
            match outcome.ended {
                Ended::Exited(0) => break,
                Ended::Killed(Signal::SIGKILL) => deaths += 1,
                ended => panic!("{what}: {ended:?}"),
            }
        }
        println!("{name} over {scheme}: {deaths} deaths");
        assert!(deaths > 20, "only {deaths} deaths");
    }
}

cases! {
    a_sender_dies_before_every_call = sender, receiver;
    a_receiver_dies_before_every_call = receiver, sender;
    a_server_dies_before_every_call = server, client;
    an_acceptor_dies_before_every_call = acceptor, client;
    a_publisher_dies_before_every_call = publisher, subscribers;
    a_writer_dies_in_the_middle_of_a_message = writer, reader;
    a_middleman_with_an_arena_dies_before_every_call = middleman, both_ends;
}
