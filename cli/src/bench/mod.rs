//! What each transport does on this machine, beside what the machine can do.
//!
//! Sender and receiver are separate processes, started anew for every measurement. The receiver touches every page it
//! gets. Rounds go through all cases in turn, so that a noisy minute falls on all of them, and medians are reported.

mod case;
mod floor;
pub(crate) mod peer;
mod report;
mod run;

use std::path::PathBuf;
use std::time::Instant;

use crate::failure::Failure;
use crate::interrupt;

use case::Case;
use report::{Report, Row};

#[derive(clap::Args)]
pub(crate) struct Bench {
    /// Fewer sizes and rounds: under 20 seconds
    #[arg(long)]
    quick: bool,
    /// Write all figures to a file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Only cases whose name contains this
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// The dataframe to ship
    #[arg(long, value_name = "FILE")]
    frame: Option<PathBuf>,
    /// Rounds to take the median of
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
}

/// The dataframe of the project's own tests, if the source is still where it was built.
const FLIGHTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/flights.parquet");

#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the table, and what is being measured"
)]
pub(crate) fn run(args: &Bench) -> Result<(), Failure> {
    let frame = args.frame.clone().unwrap_or_else(|| FLIGHTS.into());
    let frame = if frame.exists() || args.frame.is_some() {
        crate::format::read(&frame, None)?.pop()
    } else {
        eprintln!("no dataframe at {}: name one with --frame", frame.display());
        None
    };
    let cases = case::all(args.quick, frame.is_some());
    let wanted = |case: &&Case| {
        args.only
            .as_ref()
            .is_none_or(|only| case.name().contains(only.as_str()))
    };
    let cases: Vec<&Case> = cases.iter().filter(wanted).collect();
    let rounds = args.rounds.unwrap_or(if args.quick { 1 } else { 5 }).max(1);
    let mut rows: Vec<Row> = cases.iter().map(|case| Row::new(case)).collect();
    let began = Instant::now();
    for round in 0..rounds {
        for (case, row) in cases.iter().zip(&mut rows) {
            interrupt::check()?;
            if std::io::IsTerminal::is_terminal(&std::io::stderr()) {
                eprint!(
                    "\r\x1b[K{:4.0} s  round {} of {rounds}: {}",
                    began.elapsed().as_secs_f64(),
                    round + 1,
                    case.name()
                );
            }
            match run::measure(case, frame.as_ref()) {
                Ok(sample) => row.samples.push(sample),
                Err(Failure::Bench(why)) => row.missing = Some(why),
                Err(error) => return Err(error),
            }
        }
    }
    if std::io::IsTerminal::is_terminal(&std::io::stderr()) {
        eprint!("\r\x1b[K");
    }
    let report = Report::new(rows);
    print!("{}", report.table());
    if let Some(path) = &args.json {
        let text = format!("{:#}\n", report.json());
        std::fs::write(path, text).map_err(Failure::file(path, "cannot write"))?;
    }
    Ok(())
}
