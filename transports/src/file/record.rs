//! One message, one file.

use std::fs::File;
use std::io::{self, Seek, Write};
use std::path::Path;

use numpush_message::{
    BufferAllocator, DecodeError, Decoder, Encoder, Flags, Header, Limits, Message, Preamble,
    Record, Stamp,
};
use numpush_os as os;
use numpush_session::Tag;

use crate::error::{Error, Operation};
use crate::file::mapped::map_file;
use crate::file::output::OutputFile;
use crate::transfer::{PathReason, Received, Transfer, TransferPath};

/// Writes `message` to a file at `path`, as an [`OutputFile`]: a regular file is replaced in one step, and whoever has the
/// old one mapped keeps it; a symbolic link is followed; a device or a named pipe is written into.
///
/// ```
/// # use numpush_message::{Buffer, HeapAllocator, Message};
/// # use numpush_transports as numpush;
/// # let folder = std::env::temp_dir();
/// let path = folder.join(format!("example-{}.np", std::process::id()));
/// numpush::file::write(&path, &Message::new(Buffer::copy_of(b"kept")), true)?;
/// let received = numpush::file::read(&path, &mut HeapAllocator::new(), 1 << 30)?;
/// assert_eq!(received.message.as_bytes().unwrap()[..], *b"kept");
/// # std::fs::remove_file(&path).unwrap();
/// # Ok::<(), numpush::Error>(())
/// ```
///
/// # Errors
/// [`Error::Message`]; [`Error::Io`] if the file system refuses, and nothing is left then.
pub fn write(path: &Path, message: &Message<'_>, checksums: bool) -> Result<Transfer, Error> {
    write_to(
        path,
        OutputFile::create,
        message,
        checksums,
        Tag::default(),
        OutputFile::commit,
    )
}

/// As [`write()`], for the endpoint `file:path`: only this user can read a file that was not there before. With `sync` the
/// file is on the disk on return.
pub(super) fn write_private(
    path: &Path,
    message: &Message<'_>,
    checksums: bool,
    tag: Tag,
    sync: bool,
) -> Result<Transfer, Error> {
    write_to(
        path,
        OutputFile::create_private,
        message,
        checksums,
        tag,
        |output| {
            if sync {
                output.commit_to_disk()
            } else {
                output.commit()
            }
        },
    )
}

fn write_to(
    path: &Path,
    create: impl FnOnce(&Path) -> io::Result<OutputFile>,
    message: &Message<'_>,
    checksums: bool,
    tag: Tag,
    commit: impl FnOnce(OutputFile) -> io::Result<()>,
) -> Result<Transfer, Error> {
    let name = path.display().to_string();
    let failed = |error| Error::io(Operation::Write, &name)(error);
    let mut encoder = encode(message, checksums, 0, tag)?;
    let mut output = create(path).map_err(failed)?;
    let mut transfer = new_transfer(message);
    write_record(&mut output, &mut encoder, &mut transfer.system_calls)
        .and_then(|()| commit(output))
        .map_err(failed)?;
    Ok(transfer)
}

/// Writes `message`, which has the number `id`, over an open file, which is called `name` in errors.
pub(super) fn write_into(
    file: &mut File,
    name: &str,
    message: &Message<'_>,
    checksums: bool,
    id: u64,
    tag: Tag,
) -> Result<Transfer, Error> {
    let mut encoder = encode(message, checksums, id, tag)?;
    let mut transfer = Transfer {
        id,
        ..new_transfer(message)
    };
    write_record(file, &mut encoder, &mut transfer.system_calls)
        .and_then(|()| {
            let len = file.stream_position()?;
            if file.metadata()?.len() > len {
                file.set_len(len)?;
            }
            Ok(())
        })
        .map_err(Error::io(Operation::Write, name))?;
    Ok(transfer)
}

/// True for a message of so many bytes of payload that the pages of its file are worth more than the calls to give it back.
pub(super) fn is_worth_recycling(len: u64) -> bool {
    len >= 1 << 20
}

fn encode<'m>(
    message: &'m Message<'m>,
    checksums: bool,
    id: u64,
    tag: Tag,
) -> Result<Encoder<'m>, Error> {
    let flags = Flags::with_checksums(checksums);
    let mut encoder = Encoder::unstamped(message, flags).map_err(Error::Message)?;
    encoder.stamp(Stamp {
        id,
        ack: 0,
        reply_to: tag.reply_to,
        channel: tag.channel,
    });
    Ok(encoder)
}

fn new_transfer(message: &Message<'_>) -> Transfer {
    Transfer {
        id: 0,
        bytes: message.payload_len(),
        copied: message.copied_bytes(),
        path: TransferPath::Write,
        reason: PathReason::OnlyWay,
        system_calls: 3,
    }
}

fn write_record(
    output: &mut impl Write,
    encoder: &mut Encoder<'_>,
    system_calls: &mut u32,
) -> io::Result<()> {
    while encoder.next().is_some() {
        let mut slices = Vec::with_capacity(8);
        encoder.gather(&mut slices, usize::MAX, |_| false);
        *system_calls += 1;
        os::failpoint("writev")?;
        match output.write_vectored(&slices) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => encoder.advance(count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads the message in the file at `path`: mapped if the file cannot change, else into `allocator`.
///
/// `max_message` is the largest payload in bytes that it accepts.
///
/// ```
/// # use numpush_message::{Buffer, HeapAllocator, Message};
/// # use numpush_transports as numpush;
/// # let path = std::env::temp_dir().join(format!("limit-{}.np", std::process::id()));
/// # numpush::file::write(&path, &Message::new(Buffer::from(vec![1; 2000])), true)?;
/// let mut heap = HeapAllocator::new();
/// assert!(numpush::file::read(&path, &mut heap, 1000).is_err());
/// let received = numpush::file::read(&path, &mut heap, 1 << 30)?;
/// println!("{}", received.transfer); // 2048 bytes by read (file can be truncated), 0 copied by us, …
/// # std::fs::remove_file(&path).unwrap();
/// # Ok::<(), numpush::Error>(())
/// ```
///
/// # Errors
/// [`Error::InvalidMessage`] if it is no message file, has more than one message, or was cut; [`Error::NoRoom`] if
/// the allocator has none; [`Error::Io`].
pub fn read(
    path: &Path,
    allocator: &mut dyn BufferAllocator,
    max_message: u64,
) -> Result<Received, Error> {
    let name = path.display().to_string();
    let file = File::open(path).map_err(Error::io(Operation::Open, &name))?;
    read_from(&file, &name, allocator, max_message)
}

/// As [`read`], from an open file, which is called `name` in errors.
pub(super) fn read_from(
    file: &File,
    name: &str,
    allocator: &mut dyn BufferAllocator,
    max_message: u64,
) -> Result<Received, Error> {
    let limits = Limits::default().with_payload(max_message);
    let invalid = |source| Error::invalid(name, source);
    let mut transfer = Transfer {
        id: 0,
        path: TransferPath::Read,
        reason: PathReason::NotImmutable,
        system_calls: 3,
        ..Transfer::default()
    };
    if let Some(mapped) = map_file(file) {
        transfer.system_calls += 2;
        if let Ok(mapped) = allocator.adopt(mapped) {
            let message = Message::open(&mapped, &limits).map_err(invalid)?;
            let (preamble, _) = Header::parse(&mapped, &limits).map_err(invalid)?;
            transfer.bytes = message.payload_len();
            (transfer.path, transfer.reason) = (TransferPath::Map, PathReason::Immutable);
            return Ok(tagged(message, transfer, &preamble));
        }
        transfer.reason = PathReason::Allocator;
    }
    let (preamble, message) = read_record(file, allocator, limits, &mut transfer.system_calls)
        .map_err(|fault| match fault {
            Fault::Io(source) => Error::io(Operation::Read, name)(source),
            Fault::Decode(source) => invalid(source),
        })?;
    transfer.bytes = message.payload_len();
    Ok(tagged(message, transfer, &preamble))
}

/// The message with what its record says besides its contents. Its number is for the reader to know.
fn tagged(message: Message<'static>, transfer: Transfer, preamble: &Preamble) -> Received {
    Received {
        reply_to: preamble.reply_to,
        channel: preamble.channel,
        ..Received::new(message, transfer)
    }
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
) -> Result<(Preamble, Message<'static>), Fault> {
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
            Some(Record::Message(preamble, message)) => {
                let more = file.read(&mut [0]).map_err(Fault::Io)?;
                if more > 0 {
                    return Err(Fault::Decode(DecodeError::TrailingBytes {
                        count: more as u64,
                    }));
                }
                return Ok((preamble, message));
            }
            Some(Record::Control(record, _) | Record::Skipped(record)) => {
                return Err(Fault::Decode(DecodeError::UnknownKind {
                    kind: record.kind.to_wire(),
                }));
            }
            Some(_) => return Err(Fault::Decode(DecodeError::UnknownFlags { flags: 2 })),
        }
    }
}
