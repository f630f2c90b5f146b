use std::fmt::Display;
use std::path::PathBuf;

/// Why there is no figure.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    /// numpush failed, and with it the run.
    #[error(transparent)]
    Numpush(#[from] numpush::Error),
    /// One case cannot be measured on this machine; its row says why.
    #[error("{0}")]
    Case(String),
    #[error("{0}")]
    Usage(String),
    #[error("{}: {source}", path.display())]
    Output {
        path: PathBuf,
        source: std::io::Error,
    },
}

/// The error of a case, from what a system call or another library reports.
pub(crate) fn bench_error(error: impl Display) -> BenchError {
    BenchError::Case(error.to_string())
}
