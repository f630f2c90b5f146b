//! NumPy arrays in a zip file, by name.

use std::io::{Cursor, Read, Seek, Write};
use std::path::Path;

use numpush::Message;
use zip::write::SimpleFileOptions;
use zip::{ZipArchive, ZipWriter};

use crate::failure::Failure;
use crate::format::{Source, npy};

pub(super) fn read(path: &Path, source: Source) -> Result<Vec<Message<'static>>, Failure> {
    match source {
        Source::File(file) => read_from(path, file),
        Source::Memory(bytes) => read_from(path, Cursor::new(bytes)),
    }
}

fn read_from(path: &Path, from: impl Read + Seek) -> Result<Vec<Message<'static>>, Failure> {
    let mut archive = ZipArchive::new(from).map_err(Failure::file(path, "is no npz file"))?;
    let mut messages = Vec::new();
    for index in 0..archive.len() {
        let mut member = archive
            .by_index(index)
            .map_err(Failure::file(path, "cannot read"))?;
        let name = member
            .name()
            .map_err(Failure::file(path, "has a member without a name"))?;
        let name = name.trim_end_matches(".npy").to_owned();
        messages.push(npy::read_from(path, &mut member)?.with_attribute("name", name));
    }
    Ok(messages)
}

/// Writes the arrays under the names they came with, or as NumPy names those without: `arr_0` and so on.
pub(super) fn write(
    path: &Path,
    messages: &[Message<'static>],
    out: &mut (impl Write + Seek),
) -> Result<(), Failure> {
    let mut archive = ZipWriter::new(out);
    for (index, message) in messages.iter().enumerate() {
        let name = message
            .attributes
            .get("name")
            .cloned()
            .unwrap_or_else(|| format!("arr_{index}"));
        let options = SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Stored)
            .large_file(true);
        archive
            .start_file(format!("{name}.npy"), options)
            .map_err(Failure::file(path, "cannot write"))?;
        npy::write(path, message, &mut archive)?;
    }
    archive
        .finish()
        .map_err(Failure::file(path, "cannot write"))?;
    Ok(())
}
