//! Outputs for received messages.

use std::path::{Path, PathBuf};

use numpush::Message;
use numpush::shm::SharedValue;

use super::folder::Folder;
use super::names::{member_name, numbered};
use super::write::{beside, write};
use crate::args::Recv;
use crate::failure::Failure;
use crate::format::{self, Archive, CsvOptions, Format};
use crate::interrupt::Busy;
use crate::output::{Output, is_standard, out};
use crate::transfer_report::describe;

/// Where messages go.
pub(super) enum Sink {
    /// Nowhere: no output was named.
    Nowhere,
    /// Into shared memory, where they have landed already.
    Shared(Vec<SharedValue>),
    /// A file each, or one after another into a pipe.
    Files(Files),
    /// A file each, with the sender's names.
    Folder(Folder),
    /// All arrays into one npz file.
    Archive(Box<Gathered>),
    /// All into one file.
    Append(PathBuf, Format, CsvOptions),
}

impl Sink {
    /// Opens the output, so that a fault is known before anything is received.
    pub(super) fn open(args: &Recv) -> Result<Self, Failure> {
        if args.shm {
            return Ok(Self::Shared(Vec::new()));
        }
        let Some(path) = args.output.clone() else {
            return Ok(Self::Nowhere);
        };
        let csv = args.csv.options(false)?;
        if path.as_os_str().as_encoded_bytes().ends_with(b"/") || path.is_dir() {
            return Folder::open(path, args.format, csv).map(Self::Folder);
        }
        let format = Format::of(&path, args.format)?;
        if args.append {
            return match format {
                Format::Np | Format::Csv => Ok(Self::Append(path, format, csv)),
                _ => Err(Failure::Usage(
                    "--append: only .np and .csv files can grow".into(),
                )),
            };
        }
        if format == Format::Npz {
            let archive = Some(Archive::new(Output::create(&path)?));
            let gathered = Gathered {
                path,
                archive,
                count: 0,
            };
            return Ok(Self::Archive(Box::new(gathered)));
        }
        Files::open(path, format, csv).map(Self::Files)
    }

    /// Writes message number `count`. Returns how it was written if that is not as asked.
    pub(super) fn keep(
        &mut self,
        message: Message<'static>,
        count: u64,
    ) -> Result<Option<String>, Failure> {
        match self {
            Self::Nowhere => Ok(None),
            Self::Shared(values) => {
                let value = SharedValue::from_message(message)
                    .map_err(numpush::shm::ConvertError::into_error)?;
                out!("{}\n", value.handle()?)?;
                values.push(value);
                Ok(None)
            }
            Self::Files(files) => files.write(&message, count),
            Self::Folder(folder) => folder.write(&message, count),
            Self::Archive(gathered) => gathered.add(&message, count),
            Self::Append(path, Format::Csv, csv) => append_csv(path, *csv, &message).map(|()| None),
            Self::Append(path, ..) => format::append_np(path, &message).map(|()| None),
        }
    }

    /// Ends what is still being written. It is called on every way out.
    pub(super) fn finish(&mut self) -> Result<(), Failure> {
        match self {
            Self::Archive(gathered) => gathered.finish(),
            _ => Ok(()),
        }
    }
}

/// A file for each message.
pub(super) struct Files {
    path: PathBuf,
    format: Format,
    csv: CsvOptions,
    /// The first file, or the pipe that takes all.
    open: Option<Output>,
}

impl Files {
    fn open(path: PathBuf, format: Format, csv: CsvOptions) -> Result<Self, Failure> {
        let is_pipe = is_pipe(&path);
        Ok(Self {
            // To open a named pipe waits for its reader, who may wait for the first message.
            open: (!is_pipe).then(|| Output::create(&path)).transpose()?,
            path,
            format,
            csv,
        })
    }

    fn write(&mut self, message: &Message<'static>, count: u64) -> Result<Option<String>, Failure> {
        let streams = self
            .open
            .as_ref()
            .is_some_and(|output| !output.is_regular())
            || is_pipe(&self.path);
        if streams {
            let mut output = match self.open.take() {
                Some(output) => output,
                None => Output::create(&self.path)?,
            };
            format::write(&self.path, self.format, self.csv, message, &mut output)?;
            std::io::Write::flush(&mut output)
                .map_err(Failure::file(&self.path, "cannot write"))?;
            self.open = Some(output);
            return Ok(None);
        }
        let path = if count > 1 {
            numbered(&self.path, count)
        } else {
            self.path.clone()
        };
        let output = match self.open.take() {
            Some(first) => first,
            None => Output::create(&path)?,
        };
        write(output, self.format, self.csv, message)
    }
}

fn is_pipe(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    !is_standard(path) && std::fs::metadata(path).is_ok_and(|found| found.file_type().is_fifo())
}

/// The arrays of an npz file.
pub(super) struct Gathered {
    path: PathBuf,
    /// `None` when it is finished, or has failed.
    archive: Option<Archive>,
    count: u64,
}

impl Gathered {
    fn add(&mut self, message: &Message<'static>, count: u64) -> Result<Option<String>, Failure> {
        if !Format::Npz.holds(message) {
            let why = format!(
                "{}: {} is not an array",
                self.path.display(),
                describe(message)
            );
            return beside(&numbered(&self.path, count), message, &why);
        }
        let name = message
            .attributes
            .get("name")
            .and_then(|name| member_name(name));
        let name = name.map(|name| match Path::new(&name).extension() {
            Some(_) if Format::of_extension(Path::new(&name)).is_some() => Path::new(&name)
                .with_extension("")
                .to_string_lossy()
                .into_owned(),
            _ => name,
        });
        let archive = self
            .archive
            .as_mut()
            .ok_or_else(|| Failure::data(&self.path, "could not be written before"))?;
        let _busy = Busy::new();
        let result = archive.add(&self.path, name.as_deref(), message);
        if let Err(failure) = result {
            self.archive = None;
            return Err(failure);
        }
        self.count += 1;
        Ok(None)
    }

    fn finish(&mut self) -> Result<(), Failure> {
        match self.archive.take() {
            Some(archive) if self.count > 0 => {
                let _busy = Busy::new();
                archive.commit(&self.path)
            }
            // Nothing came: a file that was there stays.
            _ => Ok(()),
        }
    }
}

/// Adds rows at the end of a csv file; the names of the columns stand there once.
fn append_csv(path: &Path, csv: CsvOptions, message: &Message<'static>) -> Result<(), Failure> {
    use std::io::Write;
    let is_new = std::fs::metadata(path).map_or(true, |found| found.len() == 0);
    let options = CsvOptions {
        header: csv.header && is_new,
        ..csv
    };
    let mut rows = Vec::new();
    format::write(path, Format::Csv, options, message, &mut rows)?;
    let _busy = Busy::new();
    let file = std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(path);
    file.and_then(|mut file| file.write_all(&rows))
        .map_err(Failure::file(path, "cannot write"))
}
