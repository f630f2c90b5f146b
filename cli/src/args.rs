use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::format::{CsvOptions, Format};

const ENDPOINTS: &str = "\
Endpoints:
  tcp://HOST:PORT        TCP; [ADDRESS]:PORT for IPv6; port 0 listens on a free one
  unix:/PATH, unix:@NAME unix socket; memory is passed as descriptors
  file:/PATH             one message in one file; end it with / for a folder of messages
  zmq+tcp://HOST:PORT    ZeroMQ, PUSH to PULL unless ?socket= says otherwise
  zmq+ipc:/PATH          ZeroMQ over a unix socket
Parameters: ?max=BYTES, ?checksums=on|off|auto, ?users=UID,UID (unix), ?spin=20us (tcp, unix),
?socket=push|pull|pub|sub|req|rep and ?trusted=1 (zmq). Several are joined with &.

Formats, by extension or --format:
  .npy .npz              NumPy arrays
  .parquet .arrow .feather .csv   dataframes
  .np                    numpush messages as they are on the wire
  -                      standard input or output, as .np unless --format says otherwise

Exit codes:
  0    done
  1    a file or a shared value cannot be read or written, or holds something else than it should
  2    an argument, or the endpoint, makes no sense
  3    the connection: nobody is there, or the other side is gone, refuses, or has ended early
  4    nothing happened for --timeout seconds
  130  Ctrl-C
  143  SIGTERM";

/// Ships arrays and dataframes between processes and machines, without copies where possible.
#[derive(Parser)]
#[command(name = "numpush", version, after_help = ENDPOINTS)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Sends files to a receiver, and waits a few seconds for it to appear
    #[command(after_help = ENDPOINTS)]
    Send(Send),
    /// Receives messages and writes them to files, until the sender is done
    #[command(after_help = ENDPOINTS)]
    Recv(Recv),
    /// Shows what a message, npy, npz, Parquet or Arrow file holds, without reading its payload
    Inspect(Inspect),
    /// Shows what processes of this user share
    #[command(subcommand)]
    Shm(Shm),
    /// Shows what processes of this user share, as it changes; q ends it
    Top(Top),
    /// Shows which limits of this machine concern sharing, and how to lift them
    Doctor(Doctor),
    /// Makes a pair of keys for CURVE of ZeroMQ, and prints the public one
    Keygen(Keygen),
    /// Prints a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Options of every connection.
#[derive(clap::Args)]
pub(crate) struct Connect {
    /// Largest payload of a message in bytes [default: 1 GiB]
    #[arg(long, value_name = "BYTES")]
    pub(crate) max: Option<u64>,
    /// Whether payloads carry checksums: on, off, or auto (between machines)
    #[arg(long, value_name = "on|off|auto", value_parser = ["on", "off", "auto"])]
    pub(crate) checksums: Option<String>,
    /// Give up when nothing happens for this time
    #[arg(long, value_name = "SECONDS")]
    pub(crate) timeout: Option<f64>,
}

/// Options of csv files.
#[derive(clap::Args)]
pub(crate) struct Csv {
    /// Separator of the values in a csv file
    #[arg(long, value_name = "CHARACTER", default_value = ",")]
    separator: char,
    /// The first line of a csv file has no names of columns
    #[arg(long)]
    no_header: bool,
}

impl Csv {
    /// The options, if the separator is one byte.
    pub(crate) fn options(&self, text: bool) -> Result<CsvOptions, crate::failure::Failure> {
        let usage = |_| {
            let text = format!(
                "--separator {}: expected an ASCII character",
                self.separator
            );
            crate::failure::Failure::Usage(text)
        };
        Ok(CsvOptions {
            separator: u8::try_from(self.separator)
                .ok()
                .filter(u8::is_ascii)
                .ok_or(())
                .map_err(usage)?,
            header: !self.no_header,
            text,
        })
    }
}

#[derive(clap::Args)]
pub(crate) struct Send {
    /// Files or handles (shm:…) to send, and the endpoint last
    #[arg(required = true, num_args = 1.., value_name = "FILE... ENDPOINT")]
    pub(crate) files_and_endpoint: Vec<String>,
    /// Listen at the endpoint and send to whoever connects first
    #[arg(long)]
    pub(crate) listen: bool,
    /// Format of the files, if their extension does not name it
    #[arg(long, value_enum)]
    pub(crate) format: Option<Format>,
    /// Attach an attribute to every message; `name` is the file's name unless given
    #[arg(long = "attribute", value_name = "NAME=VALUE")]
    pub(crate) attributes: Vec<String>,
    /// Skip a file that cannot be sent, and report it at the end
    #[arg(long)]
    pub(crate) keep_going: bool,
    /// Print a report of each transfer as a line of JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Read every column of a csv file as text
    #[arg(long)]
    pub(crate) text: bool,
    #[command(flatten)]
    pub(crate) csv: Csv,
    #[command(flatten)]
    pub(crate) connect: Connect,
}

#[derive(clap::Args)]
pub(crate) struct Recv {
    /// Where to listen
    pub(crate) endpoint: String,
    /// Connect to the endpoint instead of listening
    #[arg(long)]
    pub(crate) connect: bool,
    /// Stop after N messages, of however many senders; 0 goes on until interrupted [default: until the sender is done; 1
    /// over ZeroMQ, where the end is not known]
    #[arg(short = 'n', long = "number", value_name = "N")]
    pub(crate) number: Option<u64>,
    /// Where to write: a file (the second message goes to PATH with -2 before its extension), or a folder, ending with /,
    /// for files with the sender's names
    #[arg(short, long, value_name = "PATH")]
    pub(crate) output: Option<PathBuf>,
    /// Add every message at the end of one .np or .csv file
    #[arg(long, requires = "output")]
    pub(crate) append: bool,
    /// Format of the output, if its extension does not name it
    #[arg(long, value_enum)]
    pub(crate) format: Option<Format>,
    /// Keep what is received in shared memory, print its handle, and hold it until interrupted
    #[arg(long, conflicts_with = "output")]
    pub(crate) shm: bool,
    /// Go on after a message that cannot be written, and report it at the end
    #[arg(long)]
    pub(crate) keep_going: bool,
    /// Print a report of each transfer as a line of JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) csv: Csv,
    #[command(flatten)]
    pub(crate) options: Connect,
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
    /// Removes names in /dev/shm that killed processes left there
    Reap,
}

#[derive(clap::Args)]
pub(crate) struct Top {
    /// Seconds between two updates
    #[arg(long, default_value_t = 1.0, value_name = "SECONDS")]
    pub(crate) interval: f64,
    /// Stop after N updates; 0 goes on until interrupted
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
pub(crate) struct Keygen {
    /// A new file for the secret key, which stays here; the public key, for the other side, goes to PATH.pub
    pub(crate) path: PathBuf,
    /// Make nothing: print the public key that belongs to the secret key in PATH
    #[arg(long)]
    pub(crate) show: bool,
}

#[derive(clap::Args)]
pub(crate) struct Inspect {
    /// A file, - for standard input, a handle (shm:…), or an endpoint, which is listened at for one message
    pub(crate) what: String,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) options: Connect,
}
