//! A folder of files with the sender's names.

use std::fs;
use std::path::{Path, PathBuf};

use numpush::Message;
use numpush::model::Body;

use super::names::{file_name, numbered};
use super::write::write;
use crate::failure::Failure;
use crate::format::{CsvOptions, Format};
use crate::output::Output;

/// A folder into which messages are written. A file that was there is never replaced.
pub(super) struct Folder {
    path: PathBuf,
    format: Option<Format>,
    csv: CsvOptions,
}

impl Folder {
    pub(super) fn open(
        path: PathBuf,
        format: Option<Format>,
        csv: CsvOptions,
    ) -> Result<Self, Failure> {
        if format == Some(Format::Npz) {
            let text = "--format npz: a folder takes a file for each array; name a file for all";
            return Err(Failure::Usage(text.into()));
        }
        fs::create_dir_all(&path).map_err(Failure::file(&path, "cannot make the folder"))?;
        // Whether files can be made there is known only by making one.
        drop(Output::create(&path.join(".numpush"))?);
        Ok(Self { path, format, csv })
    }

    pub(super) fn write(
        &mut self,
        message: &Message<'static>,
        count: u64,
    ) -> Result<Option<String>, Failure> {
        let name = message
            .attributes
            .get("name")
            .and_then(|name| file_name(name))
            .unwrap_or_else(|| format!("message-{count}"));
        let name = Path::new(&name);
        let named = Format::of_extension(name).filter(|&format| format != Format::Npz);
        let format = self
            .format
            .or(named)
            .filter(|format| format.holds(message))
            .unwrap_or_else(|| usual(message));
        let name = if named == Some(format) {
            name.to_owned()
        } else if Format::of_extension(name).is_some() {
            name.with_extension(format.extension())
        } else {
            PathBuf::from(format!("{}.{}", name.display(), format.extension()))
        };
        let path = self.free(&name);
        write(Output::create(&path)?, format, self.csv, message)
    }

    /// The path for a file of this name, or of a name made of it.
    fn free(&self, name: &Path) -> PathBuf {
        let wanted = self.path.join(name);
        let mut path = wanted.clone();
        let mut count = 1;
        while fs::symlink_metadata(&path).is_ok() {
            count += 1;
            path = numbered(&wanted, count);
        }
        path
    }
}

/// The format that keeps all of a message.
fn usual(message: &Message<'_>) -> Format {
    match message.body {
        Body::Array(_) => Format::Npy,
        Body::Frame(_) => Format::Arrow,
        _ => Format::Np,
    }
}
