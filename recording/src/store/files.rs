use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};

use super::error::StoreError;

pub const MANIFEST: &str = "manifest.json";
/// Suffix of a file that is being written aside.
const ASIDE: &str = ".part";

pub fn sealed_name(number: u32) -> String {
    format!("requests-{number:05}.parquet")
}

pub fn open_name(number: u32) -> String {
    format!("open-{number:05}.arrows")
}

/// A segment's file, as told by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentName {
    Sealed(u32),
    Open(u32),
}

impl SegmentName {
    pub fn parse(name: &str) -> Option<SegmentName> {
        let number = |prefix, suffix| {
            let number: u32 = name
                .strip_prefix(prefix)?
                .strip_suffix(suffix)?
                .parse()
                .ok()?;
            Some(number)
        };
        if let Some(number) = number("requests-", ".parquet") {
            return (sealed_name(number) == name).then_some(SegmentName::Sealed(number));
        }
        let number = number("open-", ".arrows")?;
        (open_name(number) == name).then_some(SegmentName::Open(number))
    }
}

/// Is it a file of the format, and not one that readers pass over?
pub fn is_own(name: &str) -> bool {
    let name = name.strip_suffix(ASIDE).unwrap_or(name);
    name == MANIFEST || SegmentName::parse(name).is_some()
}

pub fn is_aside(name: &str) -> bool {
    name.ends_with(ASIDE) && is_own(name)
}

/// Names of the directory's files, in order.
pub fn names(dir: &Path) -> Result<Vec<String>, StoreError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(StoreError::io("list", dir))? {
        let entry = entry.map_err(StoreError::io("list", dir))?;
        names.extend(entry.file_name().into_string());
    }
    names.sort();
    Ok(names)
}

/// A path's last part.
pub fn name_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    name.display().to_string()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// With others that only read.
    Shared,
    Alone,
}

/// A directory's advisory lock, held as long as the value. It is given up by name: closing the file
/// would not do where another thread has just forked.
#[derive(Debug)]
pub struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}

/// Takes the directory's advisory lock. Fails at once with
/// [`StoreError::InUse`] where another holds it.
pub fn lock(dir: &Path, access: Access) -> Result<Lock, StoreError> {
    let file = File::open(dir).map_err(StoreError::io("open", dir))?;
    let locked = match access {
        Access::Shared => file.try_lock_shared(),
        Access::Alone => file.try_lock(),
    };
    match locked {
        Ok(()) => Ok(Lock(file)),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse(dir.to_owned())),
        Err(TryLockError::Error(error)) => Err(StoreError::io("lock", dir)(error)),
    }
}

/// Makes a directory that only its owner may enter. An empty one that exists already is taken over.
pub fn create_directory(dir: &Path) -> Result<(), StoreError> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let kind = fs::symlink_metadata(dir).map_err(StoreError::io("look at", dir))?;
            if !kind.is_dir() {
                return Err(StoreError::NotADirectory(dir.to_owned()));
            }
            let mut entries = fs::read_dir(dir).map_err(StoreError::io("list", dir))?;
            if entries.next().is_some() {
                return Err(StoreError::NotEmpty(dir.to_owned()));
            }
            fs::set_permissions(dir, Permissions::from_mode(0o700))
                .map_err(StoreError::io("set the permissions of", dir))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(StoreError::NoParent(dir.to_owned()))
        }
        Err(error) => Err(StoreError::io("create", dir)(error)),
    }
}

/// Fails where the file, or a link of that name, exists.
pub fn create_file(path: &Path) -> Result<File, StoreError> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
        .map_err(StoreError::io("create", path))
}

/// Opens a regular file, not what a link points to; does not wait at a named pipe.
pub fn open_file(path: &Path) -> io::Result<File> {
    let file = open_any(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    Ok(file)
}

/// Opens a file or directory, not what a link points to.
pub fn open_any(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)
}

/// Asks that a file begins to be written to the disk, and that what is there already leaves the page
/// cache. It is a wish: where it is refused, all goes on without.
pub fn leave_cache(path: &Path) {
    if let Ok(file) = open_file(path) {
        let _ = posix_fadvise(file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
    }
}

pub fn remove(path: &Path) -> Result<(), StoreError> {
    fs::remove_file(path).map_err(StoreError::io("remove", path))
}

/// After a crash at any moment `dir/name` is either as before or whole.
pub fn write_whole(
    dir: &Path,
    name: &str,
    write: impl FnOnce(&mut File, &Path) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let aside = dir.join(format!("{name}{ASIDE}"));
    let path = dir.join(name);
    match fs::remove_file(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(StoreError::io("remove", &aside)(error));
        }
        _ => {}
    }
    let mut file = create_file(&aside)?;
    let written = write(&mut file, &path)
        .and_then(|()| file.sync_all().map_err(StoreError::io("sync", &aside)))
        .and_then(|()| fs::rename(&aside, &path).map_err(StoreError::io("rename", &aside)));
    if written.is_err() {
        // On a full disk its room is needed.
        let _ = fs::remove_file(&aside);
    }
    written?;
    sync_directory(dir)
}

pub fn write_bytes(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
    write_whole(dir, name, |file, path| {
        file.write_all(bytes).map_err(StoreError::io("write", path))
    })
}

fn sync_directory(dir: &Path) -> Result<(), StoreError> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(StoreError::io("sync", dir))
}
