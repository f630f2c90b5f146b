//! A process that stops between any two system calls, or one of whose calls fails: the other side and the machine are in a
//! state that has a name. The kernel stops it (ptrace), so there is no call that is not met.
//!
//! inproc has no part in it: who ends there takes its peer along.

/// Tests by name, each of a victim and a survivor, with the function `every_call` of the file.
macro_rules! cases {
    ($($test:ident = $victim:ident, $survivor:ident;)*) => {
        $(fn $test() {
            every_call(stringify!($victim), crate::stage::Case {
                name: "",
                scheme: "",
                victim: crate::roles::$victim,
                survivor: crate::survivors::$survivor,
            });
        })*

        pub(crate) const TESTS: &[numpush_tests::Test] = numpush_tests::tests![$($test),*];
    };
}

mod deaths;
mod failures;
mod holds;
mod neighbours;
mod roles;
mod stage;
mod survivors;

/// Each run forks, and traces from the thread that forked: one test at a time, in the main thread.
fn main() {
    let all: Vec<_> = [deaths::TESTS, failures::TESTS, holds::TESTS]
        .into_iter()
        .flatten()
        .copied()
        .collect();
    numpush_tests::in_turn(&all);
}
