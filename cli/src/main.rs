//! The `numpush` command.
#![forbid(unsafe_code)]

mod args;
mod doctor;
mod failure;
mod format;
mod inspect;
mod interrupt;
mod ledger;
mod progress;
mod recv;
mod send;
mod shm;
mod top;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use args::{Args, Command};

fn main() -> ExitCode {
    let args = Args::parse();
    interrupt::watch();
    let result = match args.command {
        Command::Send(send) => send::run(&send),
        Command::Recv(recv) => recv::run(&recv),
        Command::Inspect(inspect) => inspect::run(&inspect),
        Command::Shm(shm) => shm::run(&shm),
        Command::Top(top) => top::run(&top),
        Command::Doctor(doctor) => doctor::run(&doctor),
        Command::Completions { shell } => {
            clap_complete::generate(
                shell,
                &mut Args::command(),
                "numpush",
                &mut std::io::stdout(),
            );
            Ok(())
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
