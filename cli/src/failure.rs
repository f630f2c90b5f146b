use std::error::Error as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Why a command failed: what to print, and which exit code.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("{}: {what}", path.display())]
    File {
        path: PathBuf,
        what: &'static str,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("{}: {fault}", path.display())]
    Format { path: PathBuf, fault: String },
    #[error("{0}")]
    Usage(String),
    #[error(transparent)]
    Numpush(#[from] numpush::Error),
    #[error(transparent)]
    Shared(#[from] numpush::shm::Error),
    #[error("interrupted")]
    Interrupted,
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

    /// Prints the chain of causes and what to do next, and gives the exit code.
    #[expect(
        clippy::print_stderr,
        reason = "this is where a command tells why it failed"
    )]
    pub(crate) fn report(&self) -> ExitCode {
        eprint!("numpush: {self}");
        let mut source = self.source();
        while let Some(cause) = source {
            // A transparent error shows its cause's text already.
            if cause.to_string() != self.to_string() {
                eprint!(": {cause}");
            }
            source = cause.source();
        }
        eprintln!();
        if let Some(advice) = self.advice() {
            eprintln!("  {advice}");
        }
        ExitCode::from(self.code())
    }

    fn code(&self) -> u8 {
        match self {
            Self::Shared(numpush::shm::Error::Handle { .. }) => 2,
            Self::File { .. } | Self::Format { .. } | Self::Shared(_) => 1,
            Self::Usage(_)
            | Self::Numpush(numpush::Error::Endpoint(_) | numpush::Error::Disabled { .. }) => 2,
            Self::Numpush(numpush::Error::Timeout { .. }) => 4,
            Self::Numpush(numpush::Error::Value(_)) => 1,
            Self::Numpush(_) => 3,
            Self::Interrupted => 130,
        }
    }

    fn advice(&self) -> Option<&'static str> {
        let Self::Numpush(error) = self else {
            return None;
        };
        Some(match error {
            numpush::Error::Io {
                operation: numpush::transfer::Operation::Connect,
                ..
            } => {
                "start the other side first: numpush recv ENDPOINT (it waits), or check host and port"
            }
            numpush::Error::Io {
                operation: numpush::transfer::Operation::Listen,
                ..
            } => "another process listens there: end it, or take another endpoint",
            numpush::Error::TooLarge { .. } => {
                "raise the limit on both sides: add ?max=BYTES to the endpoint"
            }
            numpush::Error::Timeout { .. } => {
                "give it longer with --timeout SECONDS, or look what the other side does"
            }
            numpush::Error::Handshake { .. } => "is that a numpush endpoint, and of this version?",
            numpush::Error::ForeignUser { .. } => {
                "let that user in: add ?users=UID to the endpoint"
            }
            numpush::Error::Disconnected { .. } => {
                "the other side died or was ended; send again when it is back"
            }
            _ => return None,
        })
    }
}
