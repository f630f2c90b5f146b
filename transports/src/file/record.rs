//! One message, one file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use numpush_message::{
    Backing, Buffer, BufferAllocator, DecodeError, Decoder, Encoder, Flags, Limits, Message,
    Record, Stability,
};
use numpush_os::{self as os, FileMapping};

use crate::error::Error;
use crate::transfer::{PathReason, Transfer, TransferPath};
use crate::transport::Received;

/// Writes `message` to a file at `path`. The file gets its name last, so a reader sees it whole or not at all; a file
/// that was there is replaced, and whoever has it mapped keeps the old one.
///
/// # Errors
/// [`Error::Message`], and [`Error::Io`] if the file system says no; nothing is left behind then.
pub fn write(path: &Path, message: &Message<'_>, checksums: bool) -> Result<Transfer, Error> {
    let flags = Flags {
        checksums,
        references: false,
    };
    let mut encoder = Encoder::new(message, 0, flags).map_err(Error::Message)?;
    let mut transfer = Transfer {
        bytes: message.payload_len(),
        copied: message.prepared(),
        path: TransferPath::Write,
        reason: PathReason::OnlyWay,
        system_calls: 3,
    };
    write_record(path, &mut encoder, &mut transfer.system_calls)
        .map_err(Error::io("write", &path.display().to_string()))?;
    Ok(transfer)
}

fn write_record(path: &Path, encoder: &mut Encoder<'_>, system_calls: &mut u32) -> io::Result<()> {
    let mut temporary_file = TempFile::new(path)?;
    while encoder.next().is_some() {
        let mut slices = Vec::with_capacity(8);
        encoder.gather(&mut slices, usize::MAX, |_| false);
        *system_calls += 1;
        match temporary_file.file.write_vectored(&slices) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => encoder.advance(count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    temporary_file.publish(path)
}

/// A file that is not at its place yet, and is gone if it never gets there.
struct TempFile {
    file: File,
    /// Its name for the time being, if it has one.
    name: Option<PathBuf>,
}

impl TempFile {
    fn new(path: &Path) -> io::Result<Self> {
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
            .unwrap_or_else(|| Path::new("."));
        if let Ok(file) = os::create_unnamed(folder) {
            return Ok(Self { file, name: None });
        }
        // File systems without unnamed files (NFS, FUSE): a name of our own that a killed writer leaves behind.
        let name = temporary(path);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&name)?;
        Ok(Self {
            file,
            name: Some(name),
        })
    }

    fn publish(mut self, path: &Path) -> io::Result<()> {
        if self.name.is_none() {
            match os::commit_file(&self.file, path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    // A link never replaces; a rename does, in one step.
                    let name = temporary(path);
                    os::commit_file(&self.file, &name)?;
                    self.name = Some(name);
                }
                result => return result,
            }
        }
        let Some(name) = self.name.as_deref() else {
            return Ok(());
        };
        fs::rename(name, path)?;
        self.name = None;
        Ok(())
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            let _ = fs::remove_file(name);
        }
    }
}

fn temporary(path: &Path) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let (process, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{process}-{count}.tmp"))
}

/// Reads the message in the file at `path`: mapped if the file cannot change, else into `allocator`.
///
/// # Errors
/// [`Error::InvalidMessage`] if it is no message file, has more than one message, or was cut; [`Error::Io`].
pub fn read(
    path: &Path,
    allocator: &mut dyn BufferAllocator,
    max_message: u64,
) -> Result<Received, Error> {
    let name = path.display().to_string();
    let file = File::open(path).map_err(Error::io("open", &name))?;
    let limits = Limits::default().with_payload(max_message);
    let rubbish = |source| Error::InvalidMessage {
        peer: name.clone(),
        source,
    };
    if !allocator.insists()
        && let Ok(mapping) = FileMapping::new(&file)
    {
        let stability = if os::is_sealed(&file) {
            Stability::Sealed
        } else {
            Stability::File
        };
        let backing = Backing {
            file: Arc::new(OwnedFd::from(file)),
            offset: 0,
            stability,
        };
        let message = Message::open(&Buffer::from_owner(mapping).with_backing(backing), &limits)
            .map_err(rubbish)?;
        let (path, reason) = (TransferPath::Map, PathReason::Immutable);
        let transfer = Transfer {
            bytes: message.payload_len(),
            copied: 0,
            system_calls: 5,
            path,
            reason,
        };
        return Ok(Received { message, transfer });
    }
    let reason = if allocator.insists() {
        PathReason::Allocator
    } else {
        PathReason::NotImmutable
    };
    let mut transfer = Transfer {
        path: TransferPath::Read,
        reason,
        system_calls: 3,
        ..Transfer::default()
    };
    let message =
        read_record(&file, allocator, limits, &mut transfer.system_calls).map_err(|fault| {
            match fault {
                Fault::Io(source) => Error::io("read", &name)(source),
                Fault::Decode(source) => rubbish(source),
            }
        })?;
    transfer.bytes = message.payload_len();
    Ok(Received { message, transfer })
}

enum Fault {
    Io(io::Error),
    Decode(DecodeError),
}

fn read_record(
    mut file: &File,
    allocator: &mut dyn BufferAllocator,
    limits: Limits,
    system_calls: &mut u32,
) -> Result<Message<'static>, Fault> {
    use std::io::Read;

    let mut decoder = Decoder::new(limits);
    loop {
        let spare = decoder.spare().map_err(Fault::Decode)?;
        *system_calls += 1;
        let count = match file.read(spare) {
            Ok(0) => {
                return Err(Fault::Decode(DecodeError::Truncated {
                    missing: decoder.missing(),
                }));
            }
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Fault::Io(error)),
        };
        match decoder.filled(count, allocator).map_err(Fault::Decode)? {
            None => {}
            Some(Record::Message(_, message)) => {
                let behind = file.read(&mut [0]).map_err(Fault::Io)?;
                if behind > 0 {
                    return Err(Fault::Decode(DecodeError::TrailingBytes {
                        count: behind as u64,
                    }));
                }
                return Ok(message);
            }
            Some(Record::Control(record)) => {
                return Err(Fault::Decode(DecodeError::UnknownKind {
                    kind: record.kind as u8,
                }));
            }
            Some(_) => return Err(Fault::Decode(DecodeError::UnknownFlags { flags: 2 })),
        }
    }
}
