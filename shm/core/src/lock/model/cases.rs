//! Who meets whom. Each case prints the number of its states:
//! `cargo test -p numpush-shm-core model -- --nocapture`, with `--release` and `--include-ignored` for those of four.

use super::explore::Case;
use super::state::Role::{
    Accepting, Committer, Coordinator, Mender, Owner, Panicking, Reader, Repairer, Staying, Worker,
    Writer,
};

fn explore(name: &str, case: &Case) {
    println!("{name}: {} states", case.explore());
}

#[test]
fn readers_and_writers() {
    let two_readers = Case::new(&[(Reader, 2), (Reader, 1), (Writer, 1)]);
    explore("two readers, a writer", &two_readers);
    let two_writers = Case::new(&[(Reader, 2), (Writer, 1), (Writer, 1)]);
    explore("a reader, two writers", &two_writers);
}

#[test]
fn readers_that_live_on() {
    let writers = Case::new(&[(Staying, 2), (Writer, 1), (Writer, 1)]);
    explore("a reader that lives on, two writers", &writers);
    let commits = Case::new(&[(Staying, 2), (Committer, 3)]);
    explore("a reader that lives on, three commits", &commits);
}

#[test]
fn poison_and_repair() {
    let repair = Case::new(&[(Reader, 1), (Writer, 1), (Repairer, 1)]);
    explore("a reader, a writer, a repair", &repair);
    let panic = Case::new(&[(Accepting, 1), (Panicking, 1), (Repairer, 1)]);
    explore("one who accepts poison, a panic, a repair", &panic);
    let mender = Case::new(&[(Writer, 1), (Mender, 1), (Reader, 1)]);
    explore("a writer, a repair that does not say so, a reader", &mender);
    let twice = Case::new(&[(Writer, 1), (Mender, 2), (Mender, 1)]);
    explore("a writer, two repairs that do not say so", &twice);
}

#[test]
fn parts() {
    let workers = Case::new(&[(Coordinator, 1), (Worker(1), 1), (Worker(1), 1)]);
    explore("a coordinator, two workers", &workers);
    let reader = Case::new(&[(Coordinator, 2), (Worker(1), 1), (Reader, 1)]);
    explore("parts twice, a worker, a reader", &reader);
    let repair = Case::new(&[(Coordinator, 1), (Worker(1), 1), (Repairer, 1)]);
    explore("a coordinator, a worker, a repair", &repair);
    let second = Case::new(&[(Coordinator, 2), (Worker(3), 1), (Writer, 1)]);
    explore("parts twice, a worker on the second, a writer", &second);
}

#[test]
fn commits() {
    let readers = Case::new(&[(Committer, 3), (Reader, 1), (Reader, 1)]);
    explore("three commits, two readers", &readers);
    let committers = Case::new(&[(Committer, 2), (Committer, 2), (Reader, 2)]);
    explore("two committers, a reader", &committers);
}

#[test]
fn records_that_change_hands() {
    let writes = Case::new(&[(Reader, 1), (Writer, 2), (Reader, 1)]).with_records(2);
    explore("two records, two readers, a writer", &writes);
    let commits = Case::new(&[(Reader, 1), (Committer, 3), (Reader, 1)]).with_records(2);
    explore("two records, two readers, three commits", &commits);
}

#[test]
fn lives() {
    let readers = Case::new(&[(Owner, 2), (Reader, 1)]).next_life(&[(Writer, 1)]);
    explore("a life with a reader, one with a writer", &readers);
    let writers = Case::new(&[(Owner, 2), (Writer, 1)]).next_life(&[(Reader, 2)]);
    explore("a life with a writer, one with a reader", &writers);
}

#[test]
#[ignore = "millions of states: with --release"]
fn four_readers_and_writers() {
    let writers = Case::new(&[(Reader, 1), (Accepting, 1), (Writer, 1), (Repairer, 1)]);
    explore("two readers, a writer, a repair", &writers);
    let readers = Case::new(&[(Reader, 1), (Reader, 1), (Reader, 1), (Writer, 1)]);
    explore("three readers, a writer", &readers);
}

#[test]
#[ignore = "millions of states: with --release"]
fn four_on_parts() {
    let reader = Case::new(&[
        (Coordinator, 1),
        (Worker(1), 1),
        (Worker(1), 1),
        (Reader, 1),
    ]);
    explore("a coordinator, two workers, a reader", &reader);
    let repair = Case::new(&[(Coordinator, 1), (Worker(1), 1), (Repairer, 1), (Reader, 1)]);
    explore("a coordinator, a worker, a repair, a reader", &repair);
}

#[test]
#[ignore = "millions of states: with --release"]
fn four_with_commits() {
    let readers = Case::new(&[(Committer, 2), (Reader, 1), (Reader, 1), (Reader, 1)]);
    explore("two commits, three readers", &readers);
}

#[test]
#[ignore = "millions of states: with --release"]
fn four_in_two_lives() {
    let writers = Case::new(&[(Owner, 1), (Writer, 1)]).next_life(&[(Reader, 2), (Writer, 1)]);
    explore(
        "a life with a writer, one with a reader and a writer",
        &writers,
    );
    let parts = Case::new(&[(Owner, 2), (Coordinator, 1), (Worker(1), 1)]);
    explore(
        "parts of a life that ends",
        &parts.next_life(&[(Accepting, 1)]),
    );
    let commits = Case::new(&[(Owner, 2), (Committer, 2), (Reader, 1)]);
    explore(
        "commits of a life that ends",
        &commits.next_life(&[(Reader, 1)]),
    );
}
