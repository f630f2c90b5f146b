//! The file formats, their names and what each can hold.

use std::path::Path;

use numpush::Message;

use crate::failure::Failure;
use crate::output::is_standard;

/// A file format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// One NumPy array
    Npy,
    /// NumPy arrays by name
    Npz,
    /// Apache Parquet
    Parquet,
    /// Arrow IPC file (Feather 2)
    Arrow,
    /// Comma-separated values
    Csv,
    /// A numpush message
    Np,
}

impl Format {
    /// The format the user named, or that of the extension.
    pub(crate) fn of(path: &Path, named: Option<Self>) -> Result<Self, Failure> {
        if let Some(named) = named {
            return Ok(named);
        }
        if is_standard(path) {
            return Ok(Self::Np);
        }
        Self::of_extension(path).ok_or_else(|| {
            let fault = "its extension names no format: take .npy, .npz, .parquet, .arrow, .feather, .csv or .np, \
                         or name one with --format";
            Failure::data(path, fault)
        })
    }

    /// The format of the extension, if it is one.
    pub(crate) fn of_extension(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_string_lossy().to_lowercase();
        Some(match extension.as_str() {
            "npy" => Self::Npy,
            "npz" => Self::Npz,
            "parquet" | "pq" => Self::Parquet,
            "arrow" | "feather" | "ipc" => Self::Arrow,
            "csv" => Self::Csv,
            "np" => Self::Np,
            _ => return None,
        })
    }

    /// Its usual extension.
    pub(crate) fn extension(self) -> &'static str {
        match self {
            Self::Npy => "npy",
            Self::Npz => "npz",
            Self::Parquet => "parquet",
            Self::Arrow => "arrow",
            Self::Csv => "csv",
            Self::Np => "np",
        }
    }

    /// True if a message of this kind can be written in it.
    pub(crate) fn holds(self, message: &Message<'_>) -> bool {
        match self {
            Self::Npy | Self::Npz => message.as_array().is_some(),
            Self::Parquet | Self::Arrow | Self::Csv => message.as_frame().is_some(),
            Self::Np => true,
        }
    }
}
