//! Why a command failed: what it prints, and its exit code.

use std::error::Error as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use numpush::transfer::Operation;

use crate::advice::{WAIT_LONGER, advice};

/// The exit codes, as `numpush --help` and `docs/cli.md` list them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Code {
    /// A file or a shared value, or what is in it.
    Data = 1,
    /// The arguments.
    Usage = 2,
    /// The connection or the other side.
    Connection = 3,
    /// Nothing happened for the time given.
    Timeout = 4,
    /// Ctrl-C.
    Interrupted = 130,
    /// SIGTERM.
    Terminated = 143,
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The operating system or a library refused an operation on a file.
    #[error("{}: {what}", path.display())]
    File {
        path: PathBuf,
        what: &'static str,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A file holds something else than it should, or cannot hold what it should.
    #[error("{}: {fault}", path.display())]
    Data { path: PathBuf, fault: String },
    #[error("{0}")]
    Usage(String),
    #[error(transparent)]
    Numpush(#[from] numpush::Error),
    #[error(transparent)]
    Shared(#[from] numpush::shm::Error),
    #[error(transparent)]
    Keys(#[from] numpush::keys::KeyFileError),
    /// The timeout that the user gave has passed.
    #[error("{what} for {} s", after.as_secs_f64())]
    Timeout { what: &'static str, after: Duration },
    /// The sender was done before it had sent what was asked for.
    #[error("{0}")]
    Connection(String),
    /// What went wrong was reported, and the rest was done.
    #[error("{0}")]
    Partial(String),
    #[error("interrupted")]
    Interrupted,
    #[error("terminated")]
    Terminated,
    /// Nobody reads standard output any more.
    #[error("standard output is closed")]
    Closed,
}

impl Failure {
    pub(crate) fn file<E>(path: &Path, what: &'static str) -> impl FnOnce(E) -> Self
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let path = path.to_owned();
        move |source| Self::File {
            path,
            what,
            source: source.into(),
        }
    }

    pub(crate) fn data(path: &Path, fault: impl Into<String>) -> Self {
        Self::Data {
            path: path.to_owned(),
            fault: fault.into(),
        }
    }

    /// Prints the chain of causes and what to do next, and returns the exit code.
    #[expect(
        clippy::print_stderr,
        reason = "this is where a command reports why it failed"
    )]
    pub(crate) fn report(&self) -> ExitCode {
        // A reader that closed standard output wants no more of it.
        if matches!(self, Self::Closed) {
            return ExitCode::SUCCESS;
        }
        eprintln!("numpush: {}", self.chain());
        let advice = match self {
            Self::Timeout { .. } => Some(WAIT_LONGER),
            _ => self.connection().and_then(advice),
        };
        if let Some(advice) = advice {
            eprintln!("  {advice}");
        }
        ExitCode::from(self.code() as u8)
    }

    /// The error and its causes in one line.
    pub(crate) fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut source = self.source();
        while let Some(cause) = source {
            let cause_text = cause.to_string();
            // A transparent error shows the text of its cause already.
            if !text.ends_with(&cause_text) {
                text.push_str(": ");
                text.push_str(&cause_text);
            }
            source = cause.source();
        }
        text
    }

    pub(crate) fn code(&self) -> Code {
        match self {
            Self::Shared(numpush::shm::Error::Handle { .. }) | Self::Usage(_) => Code::Usage,
            Self::File { .. }
            | Self::Data { .. }
            | Self::Shared(_)
            | Self::Keys(_)
            | Self::Partial(_) => Code::Data,
            Self::Numpush(error) => code_of(error),
            Self::Closed => Code::Data,
            Self::Timeout { .. } => Code::Timeout,
            Self::Connection(_) => Code::Connection,
            Self::Interrupted => Code::Interrupted,
            Self::Terminated => Code::Terminated,
        }
    }

    /// The error of the connection, if that is what failed.
    pub(crate) fn connection(&self) -> Option<&numpush::Error> {
        match self {
            Self::Numpush(error) => Some(error),
            _ => None,
        }
    }

    /// True if a call timed out, before or in the middle of a message.
    pub(crate) fn is_timeout(&self) -> bool {
        self.connection().is_some_and(|error| {
            error.is_timeout() || matches!(error, numpush::Error::Unfinished { .. })
        })
    }

    /// True if a call was ended from outside.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.connection()
            .is_some_and(|error| matches!(error, numpush::Error::Cancelled { .. }))
    }

    /// True if the peer has reported that nothing more comes.
    pub(crate) fn is_closed(&self) -> bool {
        self.connection().is_some_and(numpush::Error::is_closed)
    }

    /// True if the cause is a shortage of memory on this side.
    pub(crate) fn is_out_of_memory(&self) -> bool {
        matches!(
            self.connection(),
            Some(numpush::Error::InvalidMessage {
                source: numpush::wire::DecodeError::Alloc(_),
                ..
            })
        )
    }

    /// True if another attempt at the same listener cannot succeed either.
    pub(crate) fn ends_the_listener(&self) -> bool {
        match self.connection() {
            Some(numpush::Error::Io {
                operation, source, ..
            }) => {
                // EMFILE and ENFILE: connections that end give descriptors back.
                let is_short = matches!(source.raw_os_error(), Some(23 | 24));
                matches!(operation, Operation::Accept | Operation::Wait) && !is_short
            }
            Some(numpush::Error::Endpoint(_) | numpush::Error::Unsupported { .. }) | None => true,
            Some(_) => self.is_out_of_memory(),
        }
    }
}

fn code_of(error: &numpush::Error) -> Code {
    match error {
        numpush::Error::Endpoint(_)
        | numpush::Error::Disabled { .. }
        | numpush::Error::Unsupported { .. } => Code::Usage,
        numpush::Error::Timeout { .. } => Code::Timeout,
        numpush::Error::Message(_) | numpush::Error::Value(_) => Code::Data,
        _ => Code::Connection,
    }
}
