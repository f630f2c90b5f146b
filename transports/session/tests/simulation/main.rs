//! Sessions over a simulated network and a simulated clock. A run is decided by its seed alone: what the programs do, how bytes are
//! split, when they come, what goes wrong. `NUMPUSH_SEEDS` is how many seeds run, `NUMPUSH_FIRST_SEED` the first of them.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod content;
mod ledger;
mod network;
mod plant;
mod random;
mod reading;
mod room;
mod side;
mod trouble;
mod world;
mod writing;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::plant::Plant;
use crate::world::{Outcome, run};

const SEEDS: u64 = 10_000;

/// Seeds beyond those that found a fault. 899949: a batch took an acknowledgement back.
const FOUND: [u64; 1] = [899_949];

/// A planted fault is found within so many seeds.
const PLANTED: u64 = 2_000;

#[test]
fn every_seed_keeps_the_rules() {
    let (first, count) = (
        number("NUMPUSH_FIRST_SEED", 0),
        number("NUMPUSH_SEEDS", SEEDS),
    );
    let mut seen = BTreeMap::new();
    let (mut messages, mut refused) = (0, 0);
    let found = FOUND.into_iter().filter(|_| count >= SEEDS);
    for seed in (first..first + count).chain(found) {
        match attempt(seed, None) {
            Ok(outcome) => {
                messages += outcome.messages;
                refused += outcome.refused;
                *seen.entry(summary(&outcome)).or_insert(0) += 1;
            }
            Err(why) => panic!(
                "seed {seed}: {why}\nalone: NUMPUSH_FIRST_SEED={seed} NUMPUSH_SEEDS=1 \
                 cargo test -p numpush-session --test simulation every_seed"
            ),
        }
    }
    println!("{count} seeds, {messages} messages, {refused} times no room");
    for (what, count) in &seen {
        println!("{count:8} {what}");
    }
    assert!(count < SEEDS || seen.len() > 30, "too little went wrong");
}

#[test]
fn every_planted_fault_is_found() {
    let mut missed = Vec::new();
    for plant in Plant::ALL {
        let found = (0..PLANTED).find_map(|seed| Some((seed, attempt(seed, Some(plant)).err()?)));
        match found {
            Some((seed, why)) => println!("{plant:?}: seed {seed}: {why}"),
            None => missed.push(plant),
        }
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}

/// Runs a seed; a panic is a failure too.
fn attempt(seed: u64, plant: Option<Plant>) -> Result<Outcome, String> {
    catch_unwind(AssertUnwindSafe(|| run(seed, plant))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(format!("a panic: {}", text.unwrap_or("?")))
    })
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

/// What went wrong, without its numbers.
fn summary(outcome: &Outcome) -> String {
    let name = |debug: String| {
        let end = debug.find(['(', ' ', '{']).unwrap_or(debug.len());
        debug[..end].to_owned()
    };
    let trouble = match outcome.trouble {
        Some(trouble::Trouble::Lie(lie, _)) => format!("{lie:?}"),
        trouble => trouble.map_or(String::new(), |trouble| name(format!("{trouble:?}"))),
    };
    let end = outcome.ends[1].as_ref();
    format!(
        "{trouble}: {}",
        end.map_or_else(|| "-".into(), |end| name(format!("{end:?}")))
    )
}
