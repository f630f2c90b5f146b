//! Where bytes are written: a file, a device, a pipe, or standard output.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use numpush::file::OutputFile;

use crate::failure::Failure;
use crate::interrupt::Busy;

/// Prints to standard output, and reports when nobody reads it.
macro_rules! out {
    ($($arg:tt)*) => {
        $crate::output::print(format_args!($($arg)*))
    };
}
pub(crate) use out;

/// An output that is written from its beginning to its end.
#[derive(Debug)]
pub(crate) struct Output {
    path: PathBuf,
    to: To,
    _busy: Option<Busy>,
}

#[derive(Debug)]
enum To {
    File(OutputFile),
    Stdout,
}

impl Output {
    /// Begins the file at `path`, or standard output for `-`.
    pub(crate) fn create(path: &Path) -> Result<Self, Failure> {
        let to = if is_standard(path) {
            To::Stdout
        } else {
            To::File(OutputFile::create(path).map_err(Failure::file(path, "cannot write"))?)
        };
        Ok(Self {
            path: path.to_owned(),
            to,
            _busy: None,
        })
    }

    /// The path it was created with.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// From now on a first signal does not cut off the writing of a regular file. It does cut off a pipe, whose reader may
    /// never come.
    pub(crate) fn begin(&mut self) {
        if self.is_regular() {
            self._busy = Some(Busy::new());
        }
    }

    /// True for a regular file, in which a writer may seek.
    pub(crate) fn is_regular(&self) -> bool {
        matches!(&self.to, To::File(file) if file.is_regular())
    }

    /// Ends the writing: only now a regular file is at its path.
    pub(crate) fn commit(self) -> Result<(), Failure> {
        let path = self.path;
        match self.to {
            To::File(file) => file.commit(),
            To::Stdout => io::stdout().flush(),
        }
        .map_err(Failure::file(&path, "cannot write"))
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.to {
            To::File(file) => file.write(bytes),
            To::Stdout => io::stdout().write(bytes),
        }
    }

    fn write_vectored(&mut self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        match &mut self.to {
            To::File(file) => file.write_vectored(slices),
            To::Stdout => io::stdout().write_vectored(slices),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.to {
            To::File(file) => file.flush(),
            To::Stdout => io::stdout().flush(),
        }
    }
}

impl io::Seek for Output {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        match &mut self.to {
            To::File(file) => file.seek(to),
            To::Stdout => Err(io::ErrorKind::NotSeekable.into()),
        }
    }
}

/// True for the name of standard input and output.
pub(crate) fn is_standard(path: &Path) -> bool {
    path == Path::new("-")
}

/// Prints to standard output.
pub(crate) fn print(text: std::fmt::Arguments<'_>) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_fmt(text).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure::Closed),
        result => result.map_err(Failure::file(Path::new("-"), "cannot write")),
    }
}
