//! What each transport does on this machine, beside what the machine does without numpush.
//!
//! Sender and receiver are separate processes, started anew for every measurement. The receiver touches every page it
//! gets. Rounds go through all cases in turn, so that a noisy minute falls on all of them, and medians are reported.
#![forbid(unsafe_code)]

mod args;
mod baseline;
mod case;
mod error;
mod libzmq;
mod machine;
mod payload;
mod peer;
mod place;
mod processor;
mod report;
mod run;
mod stream;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Instant;

use args::{Args, HELP};
use case::Case;
use error::BenchError;
use machine::Machine;
use report::{Report, Row};

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1).peekable();
    let result = if words.next_if_eq(peer::WORD).is_some() {
        peer::Peer::parse(words).and_then(|peer| peer::run(&peer))
    } else {
        Args::parse(words).and_then(|args| run(&args))
    };
    if let Err(error) = &result {
        eprintln!("numpush-benches: {error}");
    }
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(BenchError::Usage(_)) => ExitCode::from(2),
        Err(_) => ExitCode::FAILURE,
    }
}

fn run(args: &Args) -> Result<(), BenchError> {
    if args.help {
        print!("{HELP}");
        return Ok(());
    }
    let cases = if args.full {
        case::full()
    } else {
        case::quick()
    };
    let cases: Vec<Case> = cases
        .into_iter()
        .filter(|case| args.takes(&case.name()))
        .collect();
    let mut rows: Vec<Row> = cases.iter().map(Row::new).collect();
    let began = Instant::now();
    let is_terminal = std::io::stderr().is_terminal();
    for round in 1..=args.rounds() {
        for (case, row) in cases.iter().zip(&mut rows) {
            if is_terminal {
                let (seconds, rounds) = (began.elapsed().as_secs(), args.rounds());
                eprint!(
                    "\r\x1b[K{seconds:4} s  round {round} of {rounds}: {}",
                    case.name()
                );
            }
            match processor::release(|| run::measure(case))? {
                Ok(sample) => row.samples.push(sample),
                Err(BenchError::Case(why)) => row.missing = Some(why),
                Err(error) => return Err(error),
            }
        }
    }
    if is_terminal {
        eprint!("\r\x1b[K");
    }
    let (machine, report) = (Machine::of_this_run(args), Report::new(rows));
    println!("{machine}");
    print!("{}", report.table());
    if let Some(path) = &args.json {
        let text = format!("{:#}\n", report.json(&machine));
        std::fs::write(path, text).map_err(|source| BenchError::Output {
            path: path.clone(),
            source,
        })?;
    }
    Ok(())
}
