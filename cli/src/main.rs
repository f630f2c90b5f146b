//! The `numpush` command.
#![forbid(unsafe_code)]

mod advice;
mod args;
mod doctor;
mod endpoint;
mod failure;
mod format;
mod inspect;
mod interrupt;
mod keygen;
mod output;
mod progress;
mod recv;
mod send;
mod shm;
mod terminal;
mod top;
mod transfer_report;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use args::{Args, Command};
use failure::Failure;

fn main() -> ExitCode {
    let args = Args::parse();
    interrupt::watch();
    match interrupt::guarded(move || run(args.command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Send(send) => send::run(&send),
        Command::Recv(recv) => recv::run(&recv),
        Command::Inspect(inspect) => inspect::run(&inspect),
        Command::Shm(shm) => shm::run(&shm),
        Command::Top(top) => top::run(&top),
        Command::Doctor(doctor) => doctor::run(&doctor),
        Command::Keygen(keygen) => keygen::run(&keygen),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Args::command(), "numpush", &mut script);
            output::print(format_args!("{}", String::from_utf8_lossy(&script)))
        }
    }
}
