use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::format::Format;

const ENDPOINTS: &str = "\
Endpoints:
  tcp://HOST:PORT        TCP; [ADDRESS]:PORT for IPv6; port 0 listens on a free one
  unix:/PATH, unix:@NAME unix socket; memory is passed as descriptors
  file:/PATH             one message in one file; end it with / for a folder of messages
  zmq+tcp://HOST:PORT    ZeroMQ, PUSH to PULL unless ?socket= says otherwise
  zmq+ipc:/PATH          ZeroMQ over a unix socket
Parameters: ?max=BYTES, ?checksums=on|off|auto, ?users=UID,UID (unix), ?socket=push|pull|pub|sub|req|rep and
?trusted=1 (zmq). Several are joined with &.

Formats, by extension or --format:
  .npy .npz              NumPy arrays
  .parquet .arrow .feather .csv   dataframes
  .np                    a numpush message as it is on the wire
  -                      standard input or output, as .np unless --format says otherwise

Exit codes:
  0 done   1 a file or its contents   2 arguments   3 the connection   4 a timeout   130 interrupted";

/// Ships arrays and dataframes between processes and machines, without copying them where that can be had.
#[derive(Parser)]
#[command(name = "numpush", version, after_help = ENDPOINTS)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Sends files to a receiver, waiting a few seconds for it to appear
    #[command(after_help = ENDPOINTS)]
    Send(Send),
    /// Receives messages and writes them to files
    #[command(after_help = ENDPOINTS)]
    Recv(Recv),
    /// Shows what a message, npy, npz, Parquet or Arrow file holds, without reading its payload
    Inspect(Inspect),
    /// Shows what processes of this user share
    #[command(subcommand)]
    Shm(Shm),
    /// Shows what processes of this user share, as it changes
    Top(Top),
    /// Says what of this machine limits sharing, and what to do about it
    Doctor(Doctor),
    /// Prints a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

#[derive(clap::Args)]
pub(crate) struct Send {
    /// Files or handles (shm:…) to send, and the endpoint last
    #[arg(required = true, num_args = 2.., value_names = ["FILE", "ENDPOINT"])]
    pub(crate) files_and_endpoint: Vec<String>,
    /// Listen at the endpoint and send to whoever connects first
    #[arg(long)]
    pub(crate) listen: bool,
    /// Format of the files, if their extension does not tell
    #[arg(long, value_enum)]
    pub(crate) format: Option<Format>,
    /// Attach an attribute to every message
    #[arg(long = "attribute", value_name = "NAME=VALUE")]
    pub(crate) attributes: Vec<String>,
    /// Give up when nothing moves for so many seconds
    #[arg(long, value_name = "SECONDS")]
    pub(crate) timeout: Option<f64>,
    /// Print the ledger of each transfer as a line of JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(clap::Args)]
pub(crate) struct Recv {
    /// Where to listen
    pub(crate) endpoint: String,
    /// Connect to the endpoint instead of listening
    #[arg(long)]
    pub(crate) connect: bool,
    /// Stop after so many messages; 0 goes on until interrupted
    #[arg(short = 'n', long = "number", default_value_t = 1, value_name = "N")]
    pub(crate) number: u64,
    /// Where to write; the second message goes to PATH with -2 before its extension, and so on
    #[arg(short, long, value_name = "PATH")]
    pub(crate) output: Option<PathBuf>,
    /// Format of the output, if its extension does not tell
    #[arg(long, value_enum)]
    pub(crate) format: Option<Format>,
    /// Keep what is received in shared memory, print its handle, and hold it until interrupted
    #[arg(long, conflicts_with = "output")]
    pub(crate) shm: bool,
    /// Give up when nothing comes for so many seconds
    #[arg(long, value_name = "SECONDS")]
    pub(crate) timeout: Option<f64>,
    /// Print the ledger of each transfer as a line of JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Subcommand)]
pub(crate) enum Shm {
    /// Lists shared values: who made them, who has them open, who holds their locks
    Ls {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Shows one shared value and its locks
    Show {
        /// Its handle, shm:OWNER/NUMBER
        handle: String,
    },
    /// Takes away names in /dev/shm that killed processes left behind
    Reap,
}

#[derive(clap::Args)]
pub(crate) struct Top {
    /// Seconds between two looks
    #[arg(long, default_value_t = 1.0)]
    pub(crate) interval: f64,
    /// Stop after so many looks; 0 goes on until interrupted
    #[arg(short = 'n', long = "number", default_value_t = 0, value_name = "N")]
    pub(crate) number: u64,
}

#[derive(clap::Args)]
pub(crate) struct Doctor {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(clap::Args)]
pub(crate) struct Inspect {
    /// A file, or a file: endpoint; any other endpoint is listened at for one message
    pub(crate) what: String,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}
