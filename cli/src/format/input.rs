//! The bytes that the reader of a format reads.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use numpush::model::{BufferAllocator, HeapAllocator};
use numpush::{Buffer, Message};

use crate::failure::Failure;
use crate::output::is_standard;

/// The messages of a file, one at a time.
pub(crate) type Messages = Box<dyn Iterator<Item = Result<Message<'static>, Failure>> + Send>;

/// A file, a pipe, or standard input.
#[derive(Debug)]
pub(crate) struct Input {
    file: Source,
    /// Bytes of a regular file.
    len: Option<u64>,
}

#[derive(Debug)]
enum Source {
    File(File),
    Stdin,
}

impl Input {
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        if is_standard(path) {
            return Ok(Self {
                file: Source::Stdin,
                len: None,
            });
        }
        let file = File::open(path).map_err(Failure::file(path, "cannot open"))?;
        let found = file
            .metadata()
            .map_err(Failure::file(path, "cannot read"))?;
        if found.is_dir() {
            return Err(Failure::data(path, "is a folder"));
        }
        Ok(Self {
            file: Source::File(file),
            len: found.is_file().then_some(found.len()),
        })
    }

    /// Bytes of a regular file; `None` for a pipe.
    pub(crate) fn len(&self) -> Option<u64> {
        self.len
    }

    /// A file that can be read from any position. A pipe is read to its end first.
    pub(crate) fn into_file(self, path: &Path) -> Result<File, Failure> {
        let failed = "cannot read";
        match self.file {
            Source::File(file) if self.len.is_some() => Ok(file),
            mut source => {
                let mut file = tempfile::tempfile().map_err(Failure::file(path, failed))?;
                io::copy(&mut source, &mut file).map_err(Failure::file(path, failed))?;
                file.seek(SeekFrom::Start(0))
                    .map_err(Failure::file(path, failed))?;
                Ok(file)
            }
        }
    }
}

impl Read for Source {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.read(bytes),
            Self::Stdin => io::stdin().read(bytes),
        }
    }
}

impl Read for Input {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.file.read(bytes)
    }
}

/// Reads `len` bytes to where a message's buffers belong.
pub(super) fn allocate(
    path: &Path,
    from: &mut impl Read,
    len: usize,
) -> Result<Buffer<'static>, Failure> {
    let mut region = HeapAllocator::new()
        .allocate(len)
        .map_err(Failure::file(path, "cannot be read"))?;
    from.read_exact(region.as_mut_slice())
        .map_err(Failure::file(path, "ends before its data do"))?;
    Ok(region.freeze())
}
