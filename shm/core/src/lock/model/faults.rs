//! Locks that are wrong in one place: a model that finds nothing wrong with them is worth nothing.

use super::explore::Case;
use super::state::Role::{
    Accepting, Committer, Coordinator, Mender, Owner, Reader, Staying, Worker, Writer,
};
use super::steps::Fault;

#[test]
#[should_panic(expected = "a writer is not alone")]
fn a_reader_that_looks_at_its_bit_before_the_gate() {
    Case::new(&[(Accepting, 2), (Writer, 2)])
        .with(Fault::BitBeforeGate)
        .explore();
}

#[test]
#[should_panic(expected = "a writer is not alone")]
fn a_reader_that_does_not_look_at_the_gate_again() {
    Case::new(&[(Accepting, 1), (Writer, 1)])
        .with(Fault::GateOnce)
        .explore();
}

#[test]
#[should_panic(expected = "a writer is not alone")]
fn a_reader_that_sets_its_hold_after_the_gate() {
    Case::new(&[(Accepting, 1), (Writer, 1)])
        .with(Fault::HoldAfterGate)
        .explore();
}

#[test]
#[should_panic(expected = "somebody waits forever")]
fn a_reader_that_keeps_its_hold_while_it_waits() {
    Case::new(&[(Reader, 1), (Writer, 1)])
        .with(Fault::HoldKept)
        .explore();
}

#[test]
#[should_panic(expected = "a reader sees an unfinished write")]
fn a_reader_that_ignores_the_epoch() {
    Case::new(&[(Reader, 1), (Writer, 1)])
        .with(Fault::EpochIgnored)
        .explore();
}

#[test]
#[should_panic(expected = "a holder of an old life is inside")]
fn a_reader_that_ignores_the_end_of_a_life() {
    Case::new(&[(Owner, 1), (Reader, 1)])
        .with(Fault::GenerationIgnored)
        .explore();
}

#[test]
#[should_panic(expected = "a commit is written while it is read")]
fn a_reader_that_looks_at_the_commits_once() {
    Case::new(&[(Committer, 3), (Reader, 1)])
        .with(Fault::CommitsOnce)
        .explore();
}

#[test]
#[should_panic(expected = "a writer is not alone")]
fn a_writer_that_leaves_the_gate_open() {
    Case::new(&[(Accepting, 1), (Writer, 1)])
        .with(Fault::GateLeftOpen)
        .explore();
}

#[test]
#[should_panic(expected = "a writer is not alone")]
fn a_writer_that_clears_bits_before_it_looks() {
    Case::new(&[(Accepting, 1), (Writer, 2)])
        .with(Fault::ClearBeforeLook)
        .explore();
}

#[test]
#[should_panic(expected = "a commit is written while it is read")]
fn a_commit_that_clears_bits() {
    Case::new(&[(Committer, 3), (Reader, 1)])
        .with(Fault::ClearInCommit)
        .explore();
}

#[test]
#[should_panic(expected = "a commit is written while it is read")]
fn a_commit_that_waits_for_nobody() {
    Case::new(&[(Committer, 3), (Reader, 1)])
        .with(Fault::CommitWaitsForNobody)
        .explore();
}

#[test]
#[should_panic(expected = "a reader beside a worker")]
fn a_gate_that_is_opened_while_parts_are_closing() {
    Case::new(&[(Coordinator, 1), (Worker(1), 1), (Accepting, 2)])
        .with(Fault::OpenWhileClosing)
        .explore();
}

#[test]
#[should_panic(expected = "somebody waits forever")]
fn a_gate_that_nobody_opens_after_a_death() {
    Case::new(&[(Reader, 1), (Writer, 1)])
        .with(Fault::GateLeftClosed)
        .explore();
}

#[test]
#[should_panic(expected = "a holder of an old life is inside")]
fn a_writer_that_ignores_the_end_of_a_life() {
    Case::new(&[(Owner, 1), (Writer, 1)])
        .with(Fault::StaleWriter)
        .explore();
}

#[test]
#[should_panic(expected = "a report leaves out torn bytes")]
fn a_repair_that_is_reported_for_what_it_declares() {
    Case::new(&[(Writer, 1), (Mender, 1), (Reader, 1)])
        .with(Fault::NarrowRepair)
        .explore();
}

#[test]
#[should_panic(expected = "a writer is not alone")]
fn a_worker_that_looks_at_the_parts_before_its_hold() {
    Case::new(&[(Coordinator, 1), (Worker(1), 1)])
        .with(Fault::WorkerTrustsParts)
        .explore();
}

#[test]
#[should_panic(expected = "a reader beside a worker")]
fn parts_that_are_forgotten_before_workers_have_left() {
    Case::new(&[(Coordinator, 1), (Worker(1), 1), (Accepting, 2)])
        .with(Fault::ForgetBeforeDrain)
        .explore();
}

#[test]
#[should_panic(expected = "a writer is not alone")]
fn a_record_that_is_cleared_while_its_thread_lives() {
    Case::new(&[(Accepting, 1), (Writer, 1)])
        .with(Fault::ReapLiving)
        .explore();
}

#[test]
#[should_panic(expected = "a commit is written while it is read")]
fn a_record_that_is_cleared_without_its_mutex() {
    Case::new(&[(Reader, 1), (Committer, 3), (Reader, 1)])
        .with_records(2)
        .with(Fault::ReapUnlocked)
        .explore();
}

#[test]
#[should_panic(expected = "somebody waits forever")]
fn a_dead_reader_that_nobody_looks_for() {
    Case::new(&[(Reader, 1), (Writer, 1)])
        .with(Fault::NobodyReaps)
        .explore();
}

#[test]
#[should_panic(expected = "somebody waits forever")]
fn a_writer_that_sleeps_on_the_hold_alone() {
    Case::new(&[(Reader, 1), (Writer, 1)])
        .with(Fault::SleepOnHold)
        .explore();
}

#[test]
#[should_panic(expected = "somebody waits forever")]
fn a_writer_that_sleeps_on_the_life_alone() {
    Case::new(&[(Staying, 1), (Writer, 1)])
        .with(Fault::SleepOnLife)
        .explore();
}

#[test]
#[should_panic(expected = "somebody waits forever")]
fn a_writer_that_does_not_mark_the_hold() {
    Case::new(&[(Staying, 1), (Writer, 1)])
        .with(Fault::HoldUnmarked)
        .explore();
}

#[test]
#[should_panic(expected = "somebody waits forever")]
fn a_writer_that_does_not_mark_the_life() {
    Case::new(&[(Reader, 1), (Writer, 1)])
        .with(Fault::LifeUnmarked)
        .explore();
}

#[test]
#[should_panic(expected = "somebody waits forever")]
fn a_writer_that_sleeps_although_a_word_has_changed() {
    Case::new(&[(Staying, 1), (Writer, 1)])
        .with(Fault::SleepUnchecked)
        .explore();
}

#[test]
#[should_panic(expected = "a writer is not alone")]
fn a_writer_that_is_woken_and_does_not_look() {
    Case::new(&[(Accepting, 1), (Writer, 1)])
        .with(Fault::WakeTrusted)
        .explore();
}

#[test]
#[should_panic(expected = "a holder of an old life is inside")]
fn a_life_that_ends_without_a_look_at_the_holds() {
    Case::new(&[(Owner, 1), (Reader, 1)])
        .with(Fault::RetireBlind)
        .explore();
}

#[test]
#[should_panic(expected = "a holder of an old life is inside")]
fn a_life_that_ends_without_the_mutex() {
    Case::new(&[(Owner, 1), (Writer, 1)])
        .with(Fault::RetireUnlocked)
        .explore();
}

#[test]
#[should_panic(expected = "a writer is not alone")]
fn a_life_that_begins_while_a_stale_writer_drains() {
    Case::new(&[(Owner, 1), (Writer, 1)])
        .next_life(&[(Reader, 2), (Writer, 1)])
        .with(Fault::RenewUnlocked)
        .explore();
}
