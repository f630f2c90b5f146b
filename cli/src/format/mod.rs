//! Files of arrays and dataframes, as messages.

mod input;
mod kind;
mod np;
mod npy;
mod npz;
mod table;

use std::io::{ErrorKind, Write};
use std::path::Path;

use numpush::{Buffer, Frame, Message};

use crate::failure::Failure;
use crate::output::is_standard;
use crate::transfer_report::describe;

pub(crate) use input::{Input, Messages};
pub(crate) use kind::Format;
pub(crate) use np::{append as append_np, records};
pub(crate) use npy::{Layout, checked};
pub(crate) use npz::Archive;
pub(crate) use table::CsvOptions;

/// Opens a file; its messages are read when they are asked for.
pub(crate) fn read(
    path: &Path,
    named: Option<Format>,
    csv: CsvOptions,
) -> Result<Messages, Failure> {
    let format = Format::of(path, named)?;
    // Only a whole file becomes a message without being read.
    let is_whole = match format {
        Format::Npy => true,
        Format::Np => !is_standard(path) && np::is_single(path),
        _ => false,
    };
    if is_whole
        && !is_standard(path)
        && let Some(file) = mapped(path)?
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

/// The bytes of a file, mapped: the file itself if nobody can change it, or a copy that nobody can. `None` if it is better
/// read, or cannot be opened: reading it reports why.
fn mapped(path: &Path) -> Result<Option<Buffer<'static>>, Failure> {
    if let Ok(Some(file)) = numpush::file::map(path) {
        return Ok(Some(file));
    }
    match numpush::file::snapshot(path) {
        Ok(copy) => Ok(copy),
        Err(error) if error.kind() == ErrorKind::StorageFull => {
            let what =
                "is larger than memory, and there is no room for a copy beside it or in $TMPDIR";
            Err(Failure::file(path, what)(error))
        }
        Err(_) => Ok(None),
    }
}

fn of_mapped(
    path: &Path,
    format: Format,
    file: &Buffer<'static>,
) -> Result<Option<Message<'static>>, Failure> {
    if format == Format::Npy {
        return npy::of_mapped(path, file).map(Some);
    }
    // One with a fault is read, which reports it.
    Ok(np::of_mapped(file))
}

fn one(read: impl FnOnce() -> Result<Message<'static>, Failure> + Send + 'static) -> Messages {
    Box::new(std::iter::once_with(read))
}

/// Checks the beginning of a file, so that a fault is known before anything is sent.
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
