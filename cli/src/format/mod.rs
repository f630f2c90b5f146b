//! Files of arrays and dataframes, as messages.

mod input;
mod np;
mod npy;
mod npz;
mod table;

use std::io::{Read, Write};
use std::path::Path;

use numpush::model::{BufferAllocator, HeapAllocator};
use numpush::{Buffer, Frame, Message};

use crate::failure::Failure;
use crate::output::is_standard;
use crate::transfer_report::describe;

pub(crate) use input::Input;
pub(crate) use np::{append as append_np, records};
pub(crate) use npy::{Layout, checked};
pub(crate) use npz::Archive;
pub(crate) use table::CsvOptions;

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

/// The messages of a file, one at a time.
pub(crate) type Messages = Box<dyn Iterator<Item = Result<Message<'static>, Failure>> + Send>;

/// Opens a file; its messages are read when they are asked for.
pub(crate) fn read(
    path: &Path,
    named: Option<Format>,
    csv: CsvOptions,
) -> Result<Messages, Failure> {
    let format = Format::of(path, named)?;
    if matches!(format, Format::Npy | Format::Np)
        && !is_standard(path)
        && let Ok(Some(file)) = numpush::file::map(path)
        && let Some(message) = of_mapped(path, format, &file)?
    {
        return Ok(Box::new(std::iter::once(Ok(message))));
    }
    let mut input = Input::open(path)?;
    let owned = path.to_owned();
    Ok(match format {
        Format::Npy => one(move || {
            let len = input.len();
            npy::read(&owned, &mut input, len)
        }),
        Format::Npz => npz::read(path, input)?,
        Format::Np => records(path, input),
        Format::Parquet | Format::Arrow | Format::Csv => one(move || {
            let batch = table::read(&owned, format, input, csv)?;
            let frame = Frame::from_batch(&batch);
            frame
                .map(Message::from)
                .map_err(Failure::file(&owned, "cannot be sent"))
        }),
    })
}

fn of_mapped(
    path: &Path,
    format: Format,
    file: &Buffer<'static>,
) -> Result<Option<Message<'static>>, Failure> {
    if format == Format::Npy {
        return npy::of_mapped(path, file).map(Some);
    }
    // A file of several messages is read.
    Ok(np::of_mapped(file))
}

fn one(read: impl FnOnce() -> Result<Message<'static>, Failure> + Send + 'static) -> Messages {
    Box::new(std::iter::once_with(read))
}

/// Looks at the beginning of a file, so that what is wrong with it is known before anything is sent.
pub(crate) fn check(path: &Path, named: Option<Format>) -> Result<(), Failure> {
    let format = Format::of(path, named)?;
    // A pipe can be read only once.
    if is_standard(path) || std::fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        return Ok(());
    }
    let mut input = Input::open(path)?;
    match format {
        Format::Npy => {
            let layout = Layout::read(path, &mut input)?;
            checked(path, &layout, input.len()).map(drop)
        }
        Format::Parquet | Format::Arrow => table::check(path, format, input),
        Format::Npz | Format::Csv | Format::Np => Ok(()),
    }
}

/// Writes a message in a format of one message.
pub(crate) fn write(
    path: &Path,
    format: Format,
    csv: CsvOptions,
    message: &Message<'static>,
    out: &mut (impl Write + Send),
) -> Result<(), Failure> {
    match format {
        Format::Npy => npy::write(path, message, out),
        Format::Parquet | Format::Arrow | Format::Csv => {
            let frame = message.as_frame().ok_or_else(|| {
                Failure::data(path, format!("{} is not a frame", describe(message)))
            })?;
            let batch = frame
                .to_batch()
                .map_err(Failure::file(path, "cannot be written"))?;
            table::write(path, format, csv, &batch, out)
        }
        Format::Np | Format::Npz => np::write(path, message, out),
    }
}

/// Reads `len` bytes to where a message's buffers belong.
fn allocate(path: &Path, from: &mut impl Read, len: usize) -> Result<Buffer<'static>, Failure> {
    let mut region = HeapAllocator::new()
        .allocate(len)
        .map_err(Failure::file(path, "cannot be read"))?;
    from.read_exact(region.as_mut_slice())
        .map_err(Failure::file(path, "ends before its data do"))?;
    Ok(region.freeze())
}
