//! Kills processes that share memory at random points, and looks for torn data, stuck locks and leaks.
//!
//! Victims read and write one array as fast as they can; the parent kills one after another, with SIGKILL, and starts
//! the next. Every element of the array has the same value whenever its lock is free, so that a reader sees by itself
//! whether a half-finished write got past the lock.
#![deny(unsafe_code)]

mod forks;
mod herd;
mod names;
mod outcome;
mod owners;
mod random;
mod tasks;
mod victim;
mod victims;

use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, ValueEnum};

use outcome::Outcome;
use random::Random;

/// Kills processes that share memory at random points, and looks for torn data, stuck locks and leaks.
#[derive(Parser)]
struct Args {
    /// Processes to kill
    #[arg(long, default_value_t = 1000)]
    kills: u64,
    /// How the victims write
    #[arg(long, value_enum, default_value_t = Mode::InPlace)]
    mode: Mode,
    /// Victims at a time
    #[arg(long, default_value_t = 8)]
    victims: usize,
    /// KiB of the array
    #[arg(long, default_value_t = 32)]
    kib: usize,
    /// Seed of everything random; printed, so that a run can be repeated as far as the scheduler lets it
    #[arg(long)]
    seed: Option<u64>,
    /// Plant a fault: whoever writes leaves half of the data and says that it is whole, and nobody removes the names of the
    /// dead. The run has to fail
    #[arg(long)]
    plant: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// Under the exclusive lock: an unfinished write is reported
    InPlace,
    /// To a second buffer: an unfinished write has changed nothing
    Commit,
    /// Only readers are killed, while the parent writes: nothing may ever be poisoned
    Readers,
    /// Workers of a pool, each in its part
    Pool,
    /// As in place, and each victim has a forked child that does the same
    Forks,
    /// As in place, and victims are stopped for a while, or until they are killed
    Stops,
    /// The owners of the arrays are killed, while the parent has the arrays open
    Owners,
    /// The makers of named memory are killed
    Names,
}

#[expect(clippy::print_stdout, reason = "the report is what it is run for")]
fn main() -> ExitCode {
    if let Some(role) = std::env::var_os(victim::VARIABLE) {
        return match role.to_string_lossy().as_ref() {
            "owners" => owners::victim(),
            "names" => names::victim(),
            role => victim::run(role),
        };
    }
    tasks::serve();
    let args = Args::parse();
    let seed = args.seed.unwrap_or_else(random::seed);
    let Args {
        kills,
        mode,
        victims,
        kib,
        plant,
        ..
    } = args;
    println!("mode {mode:?}, {kills} kills, {victims} victims, {kib} KiB, seed {seed}");
    let started = Instant::now();
    let random = Random::new(seed);
    let outcome = match mode {
        Mode::Pool => tasks::torture(kills, victims, kib, random, plant),
        Mode::Owners => owners::torture(kills, victims, random, plant),
        Mode::Names => names::torture(kills, victims, random, plant),
        _ => victims::torture(kills, victims, kib, random, mode, plant),
    };
    let outcome = outcome.unwrap_or_else(|error| Outcome {
        stuck: 1,
        fault: Some(error.to_string()),
        ..Outcome::default()
    });
    println!("{outcome} in {:.1} s", started.elapsed().as_secs_f64());
    if outcome.is_good() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
