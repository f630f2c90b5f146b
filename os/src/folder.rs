//! A folder that was opened once, and what is done in it by that descriptor: no name is looked up from the root again, and
//! no link is followed.

use std::error::Error;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, fsync, unlinkat};

use crate::credentials::user;
use crate::failpoint::point;
use crate::identity::FileId;

/// An open folder whose entries nobody but its owner and root can change.
///
/// Names are relative to it, and are of files and folders in it. What it makes only this user can read and write.
#[derive(Debug)]
pub struct Folder(OwnedFd);

/// Why a file or a folder is not used, although it could be opened.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distrust {
    /// It is a symbolic link, which is not followed.
    Link,
    /// It is no regular file: a device, a pipe, a folder.
    NotRegular,
    /// It belongs to another user.
    Owner {
        /// That user.
        uid: u32,
        /// Ours.
        ours: u32,
    },
    /// Users other than its owner may write to it.
    Mode {
        /// Its permissions.
        mode: u32,
    },
    /// It has other names, by which others reach it.
    Names {
        /// How many it has.
        count: u64,
    },
}

impl fmt::Display for Distrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Link => f.write_str("it is a symbolic link, which is not followed"),
            Self::NotRegular => f.write_str("it is no regular file"),
            Self::Owner { uid, ours } => {
                write!(f, "it belongs to user {uid}, and we are user {ours}")
            }
            Self::Mode { mode } => write!(
                f,
                "others may write to it: its mode is {mode:04o}, which chmod go-w would change"
            ),
            Self::Names { count } => write!(f, "it has {count} names, and only 1 is safe"),
        }
    }
}

impl Error for Distrust {}

impl From<Distrust> for io::Error {
    fn from(distrust: Distrust) -> Self {
        Self::new(io::ErrorKind::PermissionDenied, distrust)
    }
}

const FOLDER: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);
/// A pipe is opened without waiting for its other end, and refused then.
const ENTRY: OFlag = OFlag::O_NOFOLLOW
    .union(OFlag::O_NONBLOCK)
    .union(OFlag::O_CLOEXEC)
    .union(OFlag::O_NOCTTY);

impl Folder {
    /// Opens the folder at `path`; open(2), O_DIRECTORY and O_NOFOLLOW.
    ///
    /// # Errors
    /// A [`Distrust`] if `path` is a symbolic link, or if the folder belongs to neither this user nor root, or has a mode
    /// that lets others write to it; what open(2) reports.
    pub fn open(path: &Path) -> io::Result<Self> {
        point("open")?;
        let opened = open(path, FOLDER, Mode::empty());
        // The kernel calls a link that it was told not to follow no folder.
        if matches!(opened, Err(Errno::ENOTDIR))
            && std::fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink())
        {
            return Err(Distrust::Link.into());
        }
        Self::checked(opened?)
    }

    /// Opens a folder in this one.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_folder(&self, name: &str) -> io::Result<Self> {
        point("openat")?;
        Self::checked(openat(&self.0, name, FOLDER, Mode::empty())?)
    }

    fn checked(folder: OwnedFd) -> io::Result<Self> {
        point("fstat")?;
        let found = fstat(&folder)?;
        if found.st_uid != 0 {
            check_owner(&found)?;
        }
        let mode = found.st_mode & 0o7777;
        if mode & 0o022 != 0 {
            return Err(Distrust::Mode { mode }.into());
        }
        Ok(Self(folder))
    }

    /// Makes a folder; mkdirat(2).
    ///
    /// # Errors
    /// What mkdirat(2) reports.
    pub fn make_folder(&self, name: &str) -> io::Result<()> {
        point("mkdirat")?;
        Ok(mkdirat(&self.0, name, Mode::S_IRWXU)?)
    }

    /// Makes a file, to be read and written; openat(2), O_EXCL.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] if the name is taken, even by a link; what openat(2) reports.
    pub fn create(&self, name: &str) -> io::Result<File> {
        point("openat")?;
        let flags = ENTRY | OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL;
        Ok(openat(&self.0, name, flags, Mode::S_IRUSR | Mode::S_IWUSR)?.into())
    }

    /// Opens a file to be read, and to be written if `write` is true.
    ///
    /// # Errors
    /// A [`Distrust`] if it is no regular file of this user, or has other names; what openat(2) reports.
    pub fn open_file(&self, name: &str, write: bool) -> io::Result<File> {
        let access = if write {
            OFlag::O_RDWR
        } else {
            OFlag::O_RDONLY
        };
        point("openat")?;
        let file = match openat(&self.0, name, ENTRY | access, Mode::empty()) {
            Err(Errno::ELOOP) => return Err(Distrust::Link.into()),
            // A folder that is to be written, a device without a driver, a socket.
            Err(Errno::EISDIR | Errno::ENXIO | Errno::ENODEV) => {
                return Err(Distrust::NotRegular.into());
            }
            file => file?,
        };
        point("fstat")?;
        let found = fstat(&file)?;
        if !is(&found, SFlag::S_IFREG) {
            return Err(Distrust::NotRegular.into());
        }
        check_owner(&found)?;
        if found.st_nlink > 1 {
            let count = count_of(&found);
            return Err(Distrust::Names { count }.into());
        }
        Ok(file.into())
    }

    /// Gives an entry another name in this folder, in one step. What had that name loses it; renameat(2).
    ///
    /// # Errors
    /// What renameat(2) reports.
    pub fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        point("renameat")?;
        Ok(renameat(&self.0, from, &self.0, to)?)
    }

    /// Removes the name of a file or a link; unlinkat(2).
    ///
    /// # Errors
    /// What unlinkat(2) reports.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        point("unlinkat")?;
        Ok(unlinkat(&self.0, name, UnlinkatFlags::NoRemoveDir)?)
    }

    /// Removes an empty folder; unlinkat(2).
    ///
    /// # Errors
    /// What unlinkat(2) reports.
    pub fn remove_folder(&self, name: &str) -> io::Result<()> {
        point("unlinkat")?;
        Ok(unlinkat(&self.0, name, UnlinkatFlags::RemoveDir)?)
    }

    /// What has a name here, links included; `None` if nothing has. fstatat(2).
    ///
    /// # Errors
    /// What fstatat(2) reports.
    pub fn find(&self, name: &str) -> io::Result<Option<FileId>> {
        point("fstatat")?;
        match fstatat(&self.0, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(found) => Ok(Some(FileId {
                dev: found.st_dev,
                ino: found.st_ino,
            })),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// The names in the folder that are UTF-8, in no order; readdir(3).
    ///
    /// # Errors
    /// What openat(2) and readdir(3) report.
    pub fn names(&self) -> io::Result<Vec<String>> {
        point("getdents64")?;
        // Another descriptor of it, which begins at the first entry.
        let mut folder = Dir::openat(&self.0, ".", FOLDER, Mode::empty())?;
        let mut names = Vec::new();
        for entry in folder.iter() {
            if let Ok(name) = entry?.file_name().to_str()
                && name != "."
                && name != ".."
            {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    /// Puts the names in the folder on the disk; fsync(2).
    ///
    /// # Errors
    /// What fsync(2) reports.
    pub fn sync(&self) -> io::Result<()> {
        point("fsync")?;
        Ok(fsync(&self.0)?)
    }
}

impl AsFd for Folder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// True if an open file or folder has no name any more; fstat(2).
///
/// # Errors
/// What fstat(2) reports.
pub fn is_removed(file: impl AsFd) -> io::Result<bool> {
    point("fstat")?;
    Ok(fstat(file)?.st_nlink == 0)
}

fn check_owner(found: &FileStat) -> Result<(), Distrust> {
    let (uid, ours) = (found.st_uid, user());
    if uid == ours {
        Ok(())
    } else {
        Err(Distrust::Owner { uid, ours })
    }
}

fn is(found: &FileStat, kind: SFlag) -> bool {
    SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT == kind
}

#[cfg_attr(
    target_arch = "x86_64",
    expect(clippy::useless_conversion, reason = "32 bits on aarch64")
)]
fn count_of(found: &FileStat) -> u64 {
    found.st_nlink.into()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::PathBuf;

    use super::*;

    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Self {
            let name = format!("numpush-folder-{name}-{}", std::process::id());
            let path = std::env::temp_dir().join(name);
            // Of a process that was killed.
            let _ = fs::remove_dir_all(&path);
            fs::create_dir(&path).unwrap();
            let place = Self(path);
            place.set_mode(0o700);
            place
        }

        fn set_mode(&self, mode: u32) {
            fs::set_permissions(&self.0, fs::Permissions::from_mode(mode)).unwrap();
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn distrust<T>(result: io::Result<T>) -> Distrust {
        let error = result.map(drop).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        *error.get_ref().unwrap().downcast_ref().unwrap()
    }

    #[test]
    fn a_folder_that_others_may_write_to_is_refused_by_its_mode() {
        let place = Place::new("mode");
        for mode in [0o770, 0o702, 0o1777] {
            place.set_mode(mode);
            let refused = Folder::open(&place.0);
            assert_eq!(distrust(refused), Distrust::Mode { mode });
        }
        place.set_mode(0o755);
        Folder::open(&place.0).unwrap();
        let link = place.0.join("link");
        symlink(&place.0, &link).unwrap();
        assert_eq!(distrust(Folder::open(&link)), Distrust::Link);
    }

    #[test]
    fn what_is_no_file_of_ours_is_refused_and_waited_for_by_nobody() {
        let place = Place::new("entries");
        let folder = Folder::open(&place.0).unwrap();
        folder.create("file").unwrap();
        folder.open_file("file", true).unwrap();
        assert_eq!(
            folder.create("file").unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
        symlink("file", place.0.join("link")).unwrap();
        folder.make_folder("folder").unwrap();
        let pipe = Mode::S_IRUSR | Mode::S_IWUSR;
        nix::unistd::mkfifo(&place.0.join("pipe"), pipe).unwrap();
        for write in [false, true] {
            let open = |name| distrust(folder.open_file(name, write));
            assert_eq!(open("link"), Distrust::Link);
            assert_eq!(open("folder"), Distrust::NotRegular);
            assert_eq!(open("pipe"), Distrust::NotRegular);
        }
        fs::hard_link(place.0.join("file"), place.0.join("other")).unwrap();
        let names = Distrust::Names { count: 2 };
        assert_eq!(distrust(folder.open_file("file", false)), names);
        folder.remove("other").unwrap();
        let file = folder.open_file("file", false).unwrap();
        assert!(!is_removed(&file).unwrap());
        folder.rename("file", "renamed").unwrap();
        let found = folder.find("renamed").unwrap();
        assert_eq!(found, Some(FileId::of(&file).unwrap()));
        assert_eq!(folder.find("file").unwrap(), None);
        folder.remove("renamed").unwrap();
        assert!(is_removed(&file).unwrap());
        let mut names = folder.names().unwrap();
        names.sort();
        assert_eq!(names, ["folder", "link", "pipe"]);
    }

    #[test]
    fn what_is_made_is_this_users_alone() {
        let place = Place::new("private");
        let folder = Folder::open(&place.0).unwrap();
        let file = folder.create("file").unwrap();
        folder.make_folder("folder").unwrap();
        let mode = |found: fs::Metadata| found.permissions().mode() & 0o7777;
        assert_eq!(mode(file.metadata().unwrap()), 0o600);
        let made = fs::metadata(place.0.join("folder")).unwrap();
        assert_eq!(mode(made), 0o700);
        folder.sync().unwrap();
        folder.remove_folder("folder").unwrap();
    }
}
