//! A file that is written whole or not at all.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, IoSlice, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use numpush_os as os;

/// A file to write at a path.
///
/// A regular file gets its name by [`commit`](Self::commit): a reader sees it whole or not at all, and without a commit
/// nothing is left. A file that was there is replaced and keeps its permissions; whoever has the old one open keeps it.
/// A symbolic link is followed. Whatever else is at the path (a device, a named pipe) is written into and stays.
///
/// ```no_run
/// use std::io::Write;
/// use std::path::Path;
///
/// let mut file = numpush_transports::file::OutputFile::create(Path::new("report.txt"))?;
/// file.write_all(b"done\n")?;
/// file.commit()?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct OutputFile {
    file: File,
    target: Target,
}

/// How the bytes get to the path.
#[derive(Debug)]
enum Target {
    /// They are there already.
    InPlace,
    /// A file without a name gets this one.
    Unnamed(PathBuf),
    /// A file is renamed.
    Renamed { from: PathBuf, to: PathBuf },
}

impl OutputFile {
    /// Begins a file at `path`. Opening a named pipe waits for its reader.
    ///
    /// # Errors
    /// [`io::ErrorKind::IsADirectory`] for a folder; what open(2) returns for `path` or its folder.
    pub fn create(path: &Path) -> io::Result<Self> {
        Self::create_with_mode(path, 0o666)
    }

    /// As [`create`](Self::create), but only this user can read a file that was not there before.
    pub(super) fn create_private(path: &Path) -> io::Result<Self> {
        Self::create_with_mode(path, 0o600)
    }

    /// Begins a file at `path`. One that was not there before has the permissions `mode`, less those that the umask takes.
    fn create_with_mode(path: &Path, mode: u32) -> io::Result<Self> {
        match fs::metadata(path) {
            Ok(found) if found.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
            Ok(found) if found.is_file() => {
                Self::replace(&fs::canonicalize(path)?, Some(&found), mode)
            }
            Ok(_) => {
                let file = OpenOptions::new().write(true).open(path)?;
                Ok(Self {
                    file,
                    target: Target::InPlace,
                })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Self::replace(&follow(path)?, None, mode)
            }
            Err(error) => Err(error),
        }
    }

    /// Begins a file that replaces the entry at `path`, even a link; `found` is the file that is there.
    fn replace(path: &Path, found: Option<&Metadata>, mode: u32) -> io::Result<Self> {
        let (file, target) = if let Ok(file) = os::create_unnamed(folder_of(path), mode) {
            (file, Target::Unnamed(path.to_owned()))
        } else {
            // File systems without unnamed files (NFS, FUSE), and machines without /proc, get a temporary name, which stays
            // there if the writer is killed.
            let from = temporary(path);
            let file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(mode)
                .open(&from)?;
            let to = path.to_owned();
            (file, Target::Renamed { from, to })
        };
        let output = Self { file, target };
        if let Some(found) = found {
            output.file.set_permissions(found.permissions())?;
        }
        Ok(output)
    }

    /// True for a regular file, which [`commit`](Self::commit) puts at its path. A device or a pipe cannot be sought, and
    /// what is written is there at once.
    pub fn is_regular(&self) -> bool {
        !matches!(self.target, Target::InPlace)
    }

    /// As [`commit`](Self::commit), and the file and its name are on the disk on return: fsync(2) of the file before it gets
    /// its name, and of its folder afterwards. For a device or a pipe it is [`commit`](Self::commit).
    ///
    /// # Errors
    /// What fsync(2), linkat(2) and rename(2) return. If only the last fsync(2) fails, the file has its name, and a power cut may
    /// take it back.
    pub fn commit_to_disk(self) -> io::Result<()> {
        let (Target::Unnamed(path) | Target::Renamed { to: path, .. }) = &self.target else {
            return self.commit();
        };
        let folder = File::open(folder_of(path))?;
        os::sync_file(&self.file)?;
        self.commit()?;
        os::sync_file(&folder)
    }

    /// Puts the file at its path.
    ///
    /// # Errors
    /// What linkat(2) and rename(2) return. The old file is still there then.
    pub fn commit(mut self) -> io::Result<()> {
        if let Target::Unnamed(path) = &self.target {
            let path = path.clone();
            match os::commit_file(&self.file, &path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                result => return result,
            }
            // A link never replaces; a rename does, in one step.
            let from = temporary(&path);
            os::commit_file(&self.file, &from)?;
            self.target = Target::Renamed { from, to: path };
        }
        if let Target::Renamed { from, to } = &self.target {
            fs::rename(from, to)?;
            self.target = Target::InPlace;
        }
        Ok(())
    }
}

impl Write for OutputFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.file.write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Seek for OutputFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

impl Drop for OutputFile {
    fn drop(&mut self) {
        if let Target::Renamed { from, .. } = &self.target {
            let _ = fs::remove_file(from);
        }
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or_else(|| Path::new("."))
}

/// The path that symbolic links at `path` lead to, where nothing is yet.
fn follow(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    // The kernel follows 40 links: path_resolution(7).
    for _ in 0..40 {
        match fs::read_link(&path) {
            Ok(target) => path = path.parent().unwrap_or_else(|| Path::new("")).join(target),
            Err(_) => return Ok(path),
        }
    }
    Err(io::Error::from_raw_os_error(40))
}

fn temporary(path: &Path) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let (process, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{process}-{count}.tmp"))
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
    use std::process::Command;

    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let name = format!("numpush-output-{name}-{}", std::process::id());
            let folder = std::env::temp_dir().join(name);
            // Of a process that was killed.
            let _ = fs::remove_dir_all(&folder);
            fs::create_dir(&folder).unwrap();
            Self(folder)
        }

        fn entries(&self) -> usize {
            fs::read_dir(&self.0).unwrap().count()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn write(path: &Path, text: &str) {
        let mut file = OutputFile::create(path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file.commit().unwrap();
    }

    #[test]
    fn a_link_is_followed_and_its_target_replaced() {
        let folder = Folder::new("link");
        let (target, link) = (folder.0.join("target"), folder.0.join("link"));
        symlink("target", &link).unwrap();
        for text in ["new", "replaced"] {
            write(&link, text);
            assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
            assert_eq!(fs::read_to_string(&target).unwrap(), text);
        }
        fs::set_permissions(&target, fs::Permissions::from_mode(0o640)).unwrap();
        write(&link, "once more");
        let mode = fs::metadata(&target).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
        assert_eq!(folder.entries(), 2);
        symlink("loop", folder.0.join("loop")).unwrap();
        OutputFile::create(&folder.0.join("loop")).unwrap_err();
    }

    #[test]
    fn a_named_pipe_and_a_device_are_written_into() {
        let folder = Folder::new("pipe");
        let pipe = folder.0.join("pipe");
        assert!(
            Command::new("mkfifo")
                .arg(&pipe)
                .status()
                .unwrap()
                .success()
        );
        let reader = std::thread::spawn({
            let pipe = pipe.clone();
            move || {
                let mut text = String::new();
                File::open(pipe).unwrap().read_to_string(&mut text).unwrap();
                text
            }
        });
        write(&pipe, "through");
        assert_eq!(reader.join().unwrap(), "through");
        assert!(fs::metadata(&pipe).unwrap().file_type().is_fifo());
        // A link to the device, so that a failure replaces the link and no device of this machine.
        let null = folder.0.join("null");
        symlink("/dev/null", &null).unwrap();
        write(&null, "gone");
        assert!(fs::metadata(&null).unwrap().file_type().is_char_device());
        assert_eq!(folder.entries(), 2);
    }

    #[test]
    fn without_a_commit_nothing_is_left() {
        let folder = Folder::new("dropped");
        let path = folder.0.join("file");
        fs::write(&path, "old").unwrap();
        let mut file = OutputFile::create(&path).unwrap();
        file.write_all(b"half").unwrap();
        drop(file);
        assert_eq!(
            (
                fs::read_to_string(&path).unwrap().as_str(),
                folder.entries()
            ),
            ("old", 1)
        );
        let folder_error = OutputFile::create(&folder.0).unwrap_err();
        assert_eq!(folder_error.kind(), io::ErrorKind::IsADirectory);
    }
}
