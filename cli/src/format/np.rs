//! numpush messages in a file, one after another, as they are on a wire.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, IoSlice, Read, Write};
use std::path::Path;

use numpush::model::HeapAllocator;
use numpush::wire::{Decoder, Encoder, Flags, Limits, PREAMBLE_LEN, Preamble, Record};
use numpush::{Buffer, Message};

use crate::failure::Failure;
use crate::interrupt::Busy;

/// The messages in a file. It has at least one.
pub(crate) fn records(path: &Path, mut from: impl Read + Send + 'static) -> super::input::Messages {
    let path = path.to_owned();
    let mut decoder = Decoder::new(limits());
    let (mut count, mut done) = (0_u64, false);
    Box::new(std::iter::from_fn(move || {
        if done {
            return None;
        }
        match next(&path, &mut from, &mut decoder) {
            Ok(Some(message)) => {
                count += 1;
                Some(Ok(message))
            }
            Ok(None) => {
                done = true;
                (count == 0).then(|| Err(Failure::data(&path, "holds no message: it is empty")))
            }
            Err(failure) => {
                done = true;
                Some(Err(failure))
            }
        }
    }))
}

fn limits() -> Limits {
    Limits::default().with_payload(u64::MAX)
}

fn next(
    path: &Path,
    from: &mut impl Read,
    decoder: &mut Decoder,
) -> Result<Option<Message<'static>>, Failure> {
    let mut heap = HeapAllocator::new();
    let mut read = 0_u64;
    loop {
        let spare = decoder
            .spare()
            .map_err(Failure::file(path, "is not a message"))?;
        let count = match from.read(spare) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            result => result.map_err(Failure::file(path, "cannot read"))?,
        };
        if count == 0 {
            if decoder.is_idle() {
                return Ok(None);
            }
            let whole = read + decoder.missing();
            let fault = format!("ends {read} bytes into a message of at least {whole}");
            return Err(Failure::data(path, fault));
        }
        read += count as u64;
        let record = decoder
            .filled(count, &mut heap)
            .map_err(Failure::file(path, "is not a message"))?;
        match record {
            None => {}
            Some(Record::Message(_, message)) => return Ok(Some(message)),
            // Of a kind of a later version, which may be passed over.
            Some(Record::Skipped(_)) => {}
            Some(_) => return Err(Failure::data(path, "holds a record that is no message")),
        }
    }
}

/// True if the file is as long as its first message. A file that cannot be read, or holds something else, is not: reading it
/// reports why.
pub(super) fn is_single(path: &Path) -> bool {
    // To open a named pipe would take it from its reader.
    let Some(found) = std::fs::metadata(path).ok().filter(Metadata::is_file) else {
        return false;
    };
    let Ok(mut file) = File::open(path) else {
        return false;
    };
    let mut first = [0; PREAMBLE_LEN];
    file.read_exact(&mut first).is_ok()
        && Preamble::decode(&first).is_ok_and(|preamble| preamble.record_len() == found.len())
}

/// The message in a file that is mapped, if it is the only one.
pub(super) fn of_mapped(file: &Buffer<'static>) -> Option<Message<'static>> {
    Message::open(file, &limits()).ok()
}

/// Writes a message with checksums.
pub(super) fn write(
    path: &Path,
    message: &Message<'_>,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let flags = Flags::with_checksums(true);
    let mut encoder =
        Encoder::new(message, flags).map_err(Failure::file(path, "cannot be written"))?;
    while encoder.next().is_some() {
        let mut slices: Vec<IoSlice<'_>> = Vec::new();
        encoder.gather(&mut slices, usize::MAX, |_| false);
        match out.write_vectored(&slices) {
            Ok(0) => {
                return Err(Failure::file(path, "cannot write")(io::Error::from(
                    io::ErrorKind::WriteZero,
                )));
            }
            Ok(count) => encoder.advance(count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Failure::file(path, "cannot write")(error)),
        }
    }
    Ok(())
}

/// Adds a message at the end of a file. The file is as before if that fails.
pub(crate) fn append(path: &Path, message: &Message<'_>) -> Result<(), Failure> {
    let _busy = Busy::new();
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .map_err(Failure::file(path, "cannot write"))?;
    let before = file
        .metadata()
        .map_err(Failure::file(path, "cannot write"))?;
    let result = write(path, message, &mut file);
    if result.is_err() && before.is_file() {
        let _ = file.set_len(before.len());
    }
    result
}
