//! The victim stands still before each of its calls, as one that is stopped or swapped out, and goes on later.

use numpush_tests::{Ended, Test, Verdict, can_trace, tests};

use crate::stage::{Case, run};
use crate::{neighbours, roles};

/// Holds the victim before each of its calls, one run each, until a run has no such call.
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
        for nth in 0.. {
            let (mut passed, mut at) = (0, "");
            let outcome = run(&case, |call, director| {
                passed += 1;
                if passed == nth + 1 {
                    at = call;
                    director.holds();
                }
                Verdict::Go
            });
            let what = format!("{name} over {scheme}, before call {nth}, {at}: {outcome:?}");
            assert!(outcome.survived && outcome.names.is_empty(), "{what}");
            assert_eq!(outcome.ended, Ended::Exited(0), "{what}");
            assert_eq!(outcome.said, "well", "{what}");
            if at.is_empty() {
                println!("{name} over {scheme}: {nth} stops");
                assert!(nth > 20, "only {nth} stops");
                break;
            }
        }
    }
}

fn a_sender_that_stands_still_holds_up_nobody_else() {
    every_call(
        "sender",
        Case {
            name: "",
            scheme: "",
            victim: roles::sender,
            survivor: neighbours::receiver,
        },
    );
}

fn a_server_that_stands_still_is_a_timeout_and_no_end() {
    every_call(
        "server",
        Case {
            name: "",
            scheme: "",
            victim: roles::server,
            survivor: neighbours::client,
        },
    );
}

pub(crate) const TESTS: &[Test] = tests![
    a_sender_that_stands_still_holds_up_nobody_else,
    a_server_that_stands_still_is_a_timeout_and_no_end,
];
