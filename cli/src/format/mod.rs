//! Files of arrays and dataframes, as messages.

mod npy;
mod npz;
mod table;

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use numpush::model::{BufferAllocator, HeapAllocator};
use numpush::wire::Limits;
use numpush::{Frame, Message};

use crate::failure::Failure;

pub(crate) use npy::Layout;

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
        if path == Path::new("-") {
            return Ok(Self::Np);
        }
        let extension = path
            .extension()
            .unwrap_or_default()
            .to_string_lossy()
            .to_lowercase();
        Ok(match extension.as_str() {
            "npy" => Self::Npy,
            "npz" => Self::Npz,
            "parquet" | "pq" => Self::Parquet,
            "arrow" | "feather" | "ipc" => Self::Arrow,
            "csv" => Self::Csv,
            "np" => Self::Np,
            _ => {
                let fault = "its extension tells no format: take .npy, .npz, .parquet, .arrow, .feather, .csv or .np, \
                             or name one with --format";
                return Err(Failure::Format {
                    path: path.to_owned(),
                    fault: fault.to_owned(),
                });
            }
        })
    }
}

/// The messages in a file.
pub(crate) fn read(path: &Path, named: Option<Format>) -> Result<Vec<Message<'static>>, Failure> {
    let format = Format::of(path, named)?;
    let is_input = path == Path::new("-");
    if format == Format::Np && !is_input {
        let received = numpush::file::read(path, &mut HeapAllocator::new(), u64::MAX)?;
        return Ok(vec![received.message]);
    }
    let source = if is_input {
        slurp(path)?
    } else {
        Source::File(open(path)?)
    };
    match format {
        Format::Npy => Ok(vec![npy::read(path, source)?]),
        Format::Npz => npz::read(path, source),
        Format::Parquet | Format::Arrow | Format::Csv => {
            let batch = table::read(path, format, source)?;
            let frame =
                Frame::from_batch(&batch).map_err(|error| Failure::Numpush(error.into()))?;
            Ok(vec![Message::from(frame)])
        }
        Format::Np => stream(path, source),
    }
}

/// Writes messages to a file that is whole or not there at all.
pub(crate) fn write(
    path: &Path,
    format: Format,
    messages: &[Message<'static>],
) -> Result<(), Failure> {
    if path == Path::new("-") {
        let bytes = encode(path, format, messages)?;
        return std::io::stdout()
            .write_all(&bytes)
            .map_err(Failure::file(path, "cannot write"));
    }
    if let (Format::Np, [message]) = (format, messages) {
        numpush::file::write(path, message, true)?;
        return Ok(());
    }
    let draft = path.with_file_name(format!(
        ".{}.{}.tmp",
        path.file_name().unwrap_or_default().to_string_lossy(),
        std::process::id()
    ));
    let result = write_to(&draft, path, format, messages);
    let result = result
        .and_then(|()| std::fs::rename(&draft, path).map_err(Failure::file(path, "cannot write")));
    if result.is_err() {
        let _ = std::fs::remove_file(&draft);
    }
    result
}

fn write_to(
    draft: &Path,
    path: &Path,
    format: Format,
    messages: &[Message<'static>],
) -> Result<(), Failure> {
    let mut file = File::create(draft).map_err(Failure::file(path, "cannot write"))?;
    put(path, format, messages, &mut file)
}

fn encode(path: &Path, format: Format, messages: &[Message<'static>]) -> Result<Vec<u8>, Failure> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    put(path, format, messages, &mut bytes)?;
    Ok(bytes.into_inner())
}

fn put(
    path: &Path,
    format: Format,
    messages: &[Message<'static>],
    out: &mut (impl Write + std::io::Seek + Send),
) -> Result<(), Failure> {
    let one = || match messages {
        [one] => Ok(one),
        _ => Err(Failure::Format {
            path: path.to_owned(),
            fault: "holds one message only".into(),
        }),
    };
    match format {
        Format::Npy => npy::write(path, one()?, out),
        Format::Npz => npz::write(path, messages, out),
        Format::Parquet | Format::Arrow | Format::Csv => {
            let message = one()?;
            let frame = message.as_frame().ok_or_else(|| {
                let what = crate::ledger::describe(message);
                Failure::Format {
                    path: path.to_owned(),
                    fault: format!("{what} cannot be written there: take .npy or .np"),
                }
            })?;
            let batch = frame
                .to_batch()
                .map_err(|error| Failure::Numpush(error.into()))?;
            table::write(path, format, &batch, out)
        }
        Format::Np => {
            let flags = numpush::wire::Flags {
                checksums: true,
                references: false,
            };
            let encoder = numpush::wire::Encoder::new(one()?, 0, flags)
                .map_err(|error| Failure::Numpush(error.into()))?;
            out.write_all(&encoder.copy_rest())
                .map_err(Failure::file(path, "cannot write"))?;
            Ok(())
        }
    }
}

/// Where a format's reader finds its bytes.
pub(crate) enum Source {
    File(File),
    Memory(Vec<u8>),
}

pub(crate) fn open(path: &Path) -> Result<File, Failure> {
    File::open(path).map_err(Failure::file(path, "cannot open"))
}

fn slurp(path: &Path) -> Result<Source, Failure> {
    let mut bytes = Vec::new();
    std::io::stdin()
        .read_to_end(&mut bytes)
        .map_err(Failure::file(path, "cannot read"))?;
    Ok(Source::Memory(bytes))
}

/// Messages one after another, as on a wire.
fn stream(path: &Path, source: Source) -> Result<Vec<Message<'static>>, Failure> {
    let fault = |error| Failure::Numpush(numpush::Error::from(error));
    let (Source::Memory(bytes), mut messages) = (source, Vec::new()) else {
        return Ok(Vec::new());
    };
    let mut decoder = numpush::wire::Decoder::new(Limits::default().with_payload(u64::MAX));
    let (mut rest, mut heap) = (bytes.as_slice(), HeapAllocator::new());
    while !rest.is_empty() {
        let spare = decoder.spare().map_err(fault)?;
        let (now, later) = rest.split_at(spare.len().min(rest.len()));
        spare[..now.len()].copy_from_slice(now);
        if let Some(numpush::wire::Record::Message(_, message)) =
            decoder.filled(now.len(), &mut heap).map_err(fault)?
        {
            messages.push(message);
        }
        rest = later;
    }
    if !decoder.is_idle() || messages.is_empty() {
        let fault = format!("{} bytes of a message are missing", decoder.missing());
        return Err(Failure::Format {
            path: path.to_owned(),
            fault,
        });
    }
    Ok(messages)
}

/// Reads `len` bytes to where a message's buffers belong.
pub(crate) fn allocate(
    path: &Path,
    from: &mut impl Read,
    len: usize,
) -> Result<numpush::Buffer<'static>, Failure> {
    let mut region = HeapAllocator::new()
        .allocate(len)
        .map_err(Failure::file(path, "cannot read"))?;
    from.read_exact(region.as_mut_slice())
        .map_err(Failure::file(path, "ends before its data do"))?;
    Ok(region.freeze())
}

/// A fault of the file at `path`.
pub(crate) fn fault<T>(path: &Path, fault: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::Format {
        path: PathBuf::from(path),
        fault: fault.into(),
    })
}
