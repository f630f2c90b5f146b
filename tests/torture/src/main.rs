//! Kills processes that share memory at random points, and looks for torn data, stuck locks and leaks.
//!
//! Victims read and write one array as fast as they can; the parent kills one after another, with SIGKILL, and starts
//! the next. Every element of the array has the same value whenever its lock is free, so that a reader sees by itself
//! whether a half-finished write got past the lock.
#![forbid(unsafe_code)]

mod outcome;
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
    #[arg(long, default_value_t = 6)]
    victims: usize,
    /// KiB of the array
    #[arg(long, default_value_t = 32)]
    kib: usize,
    /// Seed of everything random; printed, so that a run can be repeated as far as the scheduler lets it
    #[arg(long)]
    seed: Option<u64>,
    /// Have the workers of a pool leave half of their part and say that it is done: the run has to fail
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
}

#[expect(clippy::print_stdout, reason = "the report is what it is run for")]
fn main() -> ExitCode {
    if let Some(role) = std::env::var_os(victim::VARIABLE) {
        return victim::run(&role.to_string_lossy());
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
        _ => victims::torture(kills, victims, kib, random, mode),
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
