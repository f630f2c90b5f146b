//! NumPy arrays in a zip file, by name.

use std::collections::HashSet;
use std::io::{self, Cursor, Seek, SeekFrom, Write};
use std::path::Path;

use numpush::Message;
use zip::write::SimpleFileOptions;
use zip::{ZipArchive, ZipWriter};

use crate::failure::Failure;
use crate::format::input::{Input, Messages};
use crate::format::npy;
use crate::output::Output;

/// The arrays of a file, each read when it is asked for.
pub(super) fn read(path: &Path, input: Input) -> Result<Messages, Failure> {
    let file = input.into_file(path)?;
    let mut archive = ZipArchive::new(file).map_err(Failure::file(path, "is no npz file"))?;
    let path = path.to_owned();
    Ok(Box::new((0..archive.len()).map(move |index| {
        let mut member = archive
            .by_index(index)
            .map_err(Failure::file(&path, "cannot read"))?;
        let name = member
            .name()
            .map_err(Failure::file(&path, "has a member without a name"))?;
        let name = name.trim_end_matches(".npy").to_owned();
        let member_path = path.join(&name);
        let len = Some(member.size());
        Ok(npy::read(&member_path, &mut member, len)?.with_attribute("name", name))
    })))
}

/// A file of arrays that is being written, member by member.
pub(crate) struct Archive {
    zip: ZipWriter<Target>,
    names: HashSet<String>,
}

/// A zip file needs seeks. Where the output cannot seek, the file is made in memory and written in one piece.
enum Target {
    File(Output),
    Memory(Cursor<Vec<u8>>, Output),
}

impl Archive {
    pub(crate) fn new(output: Output) -> Self {
        let target = if output.is_regular() {
            Target::File(output)
        } else {
            Target::Memory(Cursor::default(), output)
        };
        Self {
            zip: ZipWriter::new(target),
            names: HashSet::new(),
        }
    }

    /// Adds an array under `name`, or under a name made of it if there is one of that name.
    pub(crate) fn add(
        &mut self,
        path: &Path,
        name: Option<&str>,
        message: &Message<'static>,
    ) -> Result<(), Failure> {
        let name = name.map_or_else(|| format!("arr_{}", self.names.len()), str::to_owned);
        let mut unique = name.clone();
        let mut count = 1;
        while !self.names.insert(unique.clone()) {
            count += 1;
            unique = format!("{name}-{count}");
        }
        let options = SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Stored)
            .large_file(true);
        self.zip
            .start_file(format!("{unique}.npy"), options)
            .map_err(Failure::file(path, "cannot write"))?;
        npy::write(path, message, &mut self.zip)
    }

    /// Ends the file.
    pub(crate) fn commit(self, path: &Path) -> Result<(), Failure> {
        let target = self
            .zip
            .finish()
            .map_err(Failure::file(path, "cannot write"))?;
        match target {
            Target::File(output) => output.commit(),
            Target::Memory(bytes, mut output) => {
                output
                    .write_all(bytes.get_ref())
                    .map_err(Failure::file(path, "cannot write"))?;
                output.commit()
            }
        }
    }
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::File(output) => output.write(bytes),
            Self::Memory(memory, _) => memory.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::File(output) => output.flush(),
            Self::Memory(..) => Ok(()),
        }
    }
}

impl Seek for Target {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match self {
            Self::File(output) => output.seek(to),
            Self::Memory(memory, _) => memory.seek(to),
        }
    }
}
