//! The store's directory: made, checked, locked by one daemon, and told apart by a start epoch.
//!
//! Promise: nothing is used that somebody else could have planted (symlinks, a world-writable directory), and nothing
//! is written before the lock is held. Used by the supervisor, before any role is forked.
use crate::config::{Choice, Format};
use crate::exit::{self, Fatal};
use crate::sys::file::{self, Access};
use crate::sys::{AsFd, BorrowedFd, OwnedFd, process, user};
use serde::{Deserialize, Serialize};
use std::fs::{DirBuilder, File};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Held locked by supervisor and writer; holds the supervisor's pid.
pub const LOCK: &str = ".lock";
/// Says what the directory is: the layout's version and the start epoch.
pub const STORE: &str = ".store";
const STORE_NEW: &str = ".store.new";
const PROBE: &str = ".link-probe";
/// The layout that this code reads and writes.
const VERSION: u32 = 1;
const MODE: u32 = 0o750;

/// An open store directory.
#[derive(Debug)]
pub struct Directory {
    fd: OwnedFd,
    path: PathBuf,
}

/// Which format the store's segments are in: known, so that no client's bytes can make one look like another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Era {
    /// The format of every segment since.
    pub format: Format,
    /// The sequence number of the first of them.
    pub since: u64,
}

/// A start epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begun {
    /// Its number.
    pub epoch: u32,
    /// The format of what the last run left.
    pub era: Option<Era>,
    /// The id of the run of the daemon that it belongs to.
    pub run: u64,
}

#[derive(Debug, Deserialize, Serialize)]
struct Identity {
    version: u32,
    epoch: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<String>,
    #[serde(default)]
    since: u64,
    /// The run of the daemon that has used it last; 63 bits, as TOML has them.
    #[serde(default)]
    run: u64,
    /// Tells this store from any other; 63 random bits.
    #[serde(default)]
    id: u64,
}

impl Identity {
    fn era(&self) -> Option<Era> {
        Some(Era { format: Format::from_name(self.format.as_deref()?)?, since: self.since })
    }
}

impl Directory {
    /// Opens the directory, after making it with its parents (0750) if it is not there.
    ///
    /// # Errors
    /// Exit 74: it cannot be made or opened, is a symlink or no directory, is open for everybody, or for another group than
    /// the daemon's, to write, or belongs to somebody else (root's own directory may be used by others, if it lets them write).
    pub fn open_or_make(path: &Path) -> Result<Self, Fatal> {
        let show = path.display();
        if !path.exists() {
            let made = DirBuilder::new().recursive(true).mode(MODE).create(path);
            made.map_err(|error| failed(&format!("make the store directory {show}"), &error, path))?;
        }
        let fd = file::open_directory(path).map_err(|error| match error.raw_os_error() {
            Some(nix::libc::ELOOP | nix::libc::ENOTDIR) => Fatal::new(
                exit::STORE,
                format!("cannot use {show} as the store: it is a symlink or no directory; set store.directory to the directory itself"),
            ),
            _ => failed(&format!("open the store directory {show}"), &error, path),
        })?;
        let stat = file::stat(&fd).map_err(|error| failed(&format!("examine {show}"), &error, path))?;
        if stat.st_mode & 0o002 != 0 {
            return Err(Fatal::new(
                exit::STORE,
                format!("will not use {show} as the store: everybody may write there; run: chmod o-w {show}"),
            ));
        }
        let own = user::effective_uid();
        if stat.st_mode & 0o020 != 0 && stat.st_gid != user::effective_gid() {
            let group = stat.st_gid;
            return Err(Fatal::new(
                exit::STORE,
                format!(
                    "will not use {show} as the store: group {group}, which is not the daemon's, may write there; run: chmod g-w {show}"
                ),
            ));
        }
        if stat.st_uid != own && (own == 0 || stat.st_uid != 0) {
            // Root could, but would leave files behind that the owner's own daemon cannot use.
            let owner = stat.st_uid;
            let message = format!(
                "will not use {show} as the store: it belongs to user {owner}, and this is user {own}; run as its owner, or chown it"
            );
            return Err(Fatal::new(exit::STORE, message));
        }
        Ok(Self { fd, path: path.to_owned() })
    }

    /// Takes a directory that is open already.
    pub fn held(fd: OwnedFd, path: &Path) -> Self {
        Self { fd, path: path.to_owned() }
    }

    /// Whether its lock's name still leads to this lock.
    pub fn has_lock(&self, lock: &File) -> bool {
        leads_to(self.fd.as_fd(), LOCK, lock)
    }

    /// Locks the directory for this daemon and everything forked from it.
    ///
    /// # Errors
    /// Exit 75: another daemon holds the lock; the message names its pid. Exit 74: the directory cannot be written.
    pub fn lock(&self) -> Result<File, Fatal> {
        let show = self.path.display();
        let cannot = |error: &io::Error| failed(&format!("lock {show}/{LOCK}"), error, &self.path);
        let mut lock = file::open_at(self.fd.as_fd(), LOCK, Access::Create, 0o600).map_err(|error| cannot(&error))?;
        if !file::try_lock(&lock).map_err(|error| cannot(&error))? {
            let mut owner = String::new();
            let _ = (&mut lock).take(32).read_to_string(&mut owner);
            let owner = owner.trim();
            let owner = if owner.is_empty() { "unknown" } else { owner };
            return Err(Fatal::new(
                exit::LOCKED,
                format!(
                    "the store {show} is locked by another daemon (pid {owner}); stop it, or set another store.directory"
                ),
            ));
        }
        if !is_lock(&lock).map_err(|error| cannot(&error))? {
            let message = format!(
                "will not use {show}/{LOCK}: it is no lock of this program's, whoever put it there; look at it and remove it"
            );
            return Err(Fatal::new(exit::STORE, message));
        }
        let record = || -> io::Result<()> {
            (&lock).rewind()?;
            lock.set_len(0)?;
            writeln!(&lock, "{}", std::process::id())
        };
        record().map_err(|error| cannot(&error))?;
        Ok(lock)
    }

    /// Begins a new start epoch, durably, and returns it with the era that the last run left; also makes sure that the
    /// file system has hard links. `run` says, from the id of the run that has used the store last, that of this one: one
    /// step with the epoch, so that a start which ends in between has either used the store or not.
    ///
    /// # Errors
    /// Exit 74: the directory cannot be written, has no hard links, or was written by a newer version.
    pub fn begin_epoch(&self, run: impl FnOnce(u64) -> io::Result<u64>) -> Result<Begun, Fatal> {
        let show = self.path.display();
        let cannot = |what: &str, error: &io::Error| failed(&format!("{what} {show}/{STORE}"), error, &self.path);
        let last = identity(self.fd.as_fd()).map_err(|error| cannot("read", &error))?;
        if let Some(Identity { version, .. }) = last.as_ref().filter(|identity| identity.version > VERSION) {
            let message = format!(
                "cannot use the store {show}: its layout is version {version}, this program knows up to {VERSION}; upgrade echostored"
            );
            return Err(Fatal::new(exit::STORE, message));
        }
        let epoch = last.as_ref().map_or(0, |identity| identity.epoch).wrapping_add(1);
        let era = last.as_ref().and_then(Identity::era);
        let run = run(last.as_ref().map_or(0, |last| last.run)).map_err(|error| cannot("write", &error))?;
        let (format, since, id) = last.map_or((None, 0, 0), |last| (last.format, last.since, last.id));
        let id = own_id(id).map_err(|error| cannot("write", &error))?;
        let identity = Identity { version: VERSION, epoch, format, since, run, id };
        replace(self.fd.as_fd(), STORE, STORE_NEW, &identity).map_err(|error| cannot("write", &error))?;
        self.probe_links().map_err(|error| {
            Fatal::new(
                exit::STORE,
                format!("cannot make a hard link in {show}: {error}; `current` is a hard link to the live file, so put store.directory on a file system that has them (ext4, xfs, btrfs, tmpfs)"),
            )
        })?;
        Ok(Begun { epoch, era, run })
    }

    /// Makes the directory say what it is, for the run of the daemon that has begun `epoch`: the next one counts on from
    /// there, so that no connection's name comes twice.
    ///
    /// # Errors
    /// Exit 74: it cannot be written, or it is a store that is ahead of this one.
    pub fn keep_epoch(&self, epoch: u32, run: u64, format: Format) -> Result<(), Fatal> {
        let show = self.path.display();
        let cannot = |what: &str, error: &io::Error| failed(&format!("{what} {show}/{STORE}"), error, &self.path);
        let last = identity(self.fd.as_fd()).map_err(|error| cannot("read", &error))?;
        let (format, since, id) = match last {
            Some(Identity { version, epoch: other, .. }) if version > VERSION || other > epoch => {
                let message = format!(
                    "will not go on in {show}: what is there now belongs to another store (epoch {other}, this one is at {epoch}); restart the daemon to use it, or move it away"
                );
                return Err(Fatal::new(exit::STORE, message));
            }
            Some(Identity { epoch: same, .. }) if same == epoch => return Ok(()),
            Some(last) => (last.format, last.since, last.id),
            None => (Some(format.name().to_owned()), 0, 0),
        };
        let id = own_id(id).map_err(|error| cannot("write", &error))?;
        let identity = Identity { version: VERSION, epoch, format, since, run, id };
        replace(self.fd.as_fd(), STORE, STORE_NEW, &identity).map_err(|error| cannot("write", &error))
    }

    fn probe_links(&self) -> io::Result<()> {
        file::unlink_at(self.fd.as_fd(), PROBE)?;
        file::link_at(self.fd.as_fd(), STORE, PROBE)?;
        file::unlink_at(self.fd.as_fd(), PROBE)
    }

    /// The directory's descriptor, borrowed.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The directory's descriptor: names below it keep working when the directory is renamed.
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }
}

/// Whether the file is a regular one of this user's with nothing in it but a pid: another one, under this name by a hard
/// link, would lose what it holds.
fn is_lock(lock: &File) -> io::Result<bool> {
    let stat = file::stat(lock)?;
    let mut held = String::new();
    let read = lock.take(32).read_to_string(&mut held);
    let is_pid = held.trim_ascii().bytes().all(|byte| byte.is_ascii_digit()) && held.len() < 32;
    Ok(file::is_regular(&stat) && stat.st_uid == user::effective_uid() && read.is_ok() && is_pid)
}

fn identity(directory: BorrowedFd<'_>) -> io::Result<Option<Identity>> {
    read_small(directory, STORE)?.map(|text| parse(&text)).transpose()
}

/// A store's id: the one it has, or a new one.
fn own_id(known: u64) -> io::Result<u64> {
    if known > 0 { Ok(known) } else { Ok((process::random_word()? >> 1).max(1)) }
}

/// What tells the store in this directory from any other; `None` if it does not tell (a copy without `.store`).
pub fn id(directory: BorrowedFd<'_>) -> Option<u64> {
    identity(directory).ok().flatten().map(|identity| identity.id).filter(|id| *id > 0)
}

/// Whether a name in the directory leads to this very file. What cannot be looked at counts as unchanged.
pub fn leads_to(directory: BorrowedFd<'_>, name: &str, file: &File) -> bool {
    match (file::stat_at(directory, name), file::stat(file)) {
        (Ok(named), Ok(held)) => (named.st_dev, named.st_ino) == (held.st_dev, held.st_ino),
        (Err(error), _) => error.kind() != io::ErrorKind::NotFound,
        (_, Err(_)) => true,
    }
}

/// The store's era, if its directory tells.
pub fn era(directory: BorrowedFd<'_>) -> Option<Era> {
    era_in(&read_small(directory, STORE).ok()??)
}

/// The era that a mark's text tells.
pub(crate) fn era_in(text: &str) -> Option<Era> {
    parse::<Identity>(text).ok()?.era()
}

/// Notes the era, durably: after recovery, and before the first record of that format.
pub fn set_era(directory: BorrowedFd<'_>, era: Era) -> io::Result<()> {
    let last = identity(directory)?.ok_or(io::ErrorKind::NotFound)?;
    let identity = Identity { format: Some(era.format.name().to_owned()), since: era.since, ..last };
    replace(directory, STORE, STORE_NEW, &identity)
}

/// Replaces a small file as a whole, durably: written under another name, synced, renamed, the directory synced.
pub fn replace(directory: BorrowedFd<'_>, name: &str, temporary: &str, content: &impl Serialize) -> io::Result<()> {
    let text = toml::to_string(content).map_err(io::Error::other)?;
    file::unlink_at(directory, temporary)?;
    let mut new = file::open_at(directory, temporary, Access::CreateNew, 0o640)?;
    new.write_all(text.as_bytes())?;
    new.sync_all()?;
    file::rename_at(directory, temporary, name)?;
    file::sync_directory(directory)
}

/// Reads a small file; `None` if it is not there.
pub fn read_small(directory: BorrowedFd<'_>, name: &str) -> io::Result<Option<String>> {
    let file = match file::open_at(directory, name, Access::Read, 0) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = String::new();
    file.take(4096).read_to_string(&mut text)?;
    Ok(Some(text))
}

/// Reads what [`replace`] wrote.
pub fn parse<T: for<'a> Deserialize<'a>>(text: &str) -> io::Result<T> {
    toml::from_str(text).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.message().to_owned()))
}

/// An error of the file system with its remedy.
pub fn failed(what: &str, error: &io::Error, directory: &Path) -> Fatal {
    let show = directory.display();
    let remedy = match error.raw_os_error() {
        Some(nix::libc::EACCES | nix::libc::EPERM) => {
            format!("; make {show} writable for the daemon's user (uid {})", user::effective_uid())
        }
        Some(nix::libc::EROFS) => format!("; mount it writable, or add ReadWritePaths={show} to the service unit"),
        Some(nix::libc::ENOSPC | nix::libc::EDQUOT) => "; make room there".to_owned(),
        Some(nix::libc::ENOENT) => "; check the path in store.directory".to_owned(),
        _ => String::new(),
    };
    Fatal::new(exit::STORE, format!("cannot {what}: {error}{remedy}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_count_up_and_survive() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("a/b/store");
        for epoch in 1..=3 {
            let directory = Directory::open_or_make(&path).unwrap();
            let era = (epoch > 2).then_some(Era { format: Format::Raw, since: 7 });
            let run = u64::from(epoch) * 2;
            let next = |last| Ok::<_, io::Error>(last + 2);
            assert_eq!(directory.begin_epoch(next), Ok(Begun { epoch, era, run }));
            if epoch == 2 {
                set_era(directory.fd.as_fd(), Era { format: Format::Raw, since: 7 }).unwrap();
            }
        }
    }

    #[test]
    fn the_second_lock_names_the_first_owner() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("store");
        let lock = Directory::open_or_make(&path).unwrap().lock().unwrap();
        let refused = Directory::open_or_make(&path).unwrap().lock().unwrap_err();
        assert_eq!(refused.code, exit::LOCKED);
        assert!(refused.message.contains(&format!("pid {}", std::process::id())), "{refused}");
        drop(lock);
        Directory::open_or_make(&path).unwrap().lock().unwrap();
    }

    #[test]
    fn planted_places_are_refused() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let place = tempfile::tempdir().unwrap();
        let (real, link, open) = (place.path().join("real"), place.path().join("link"), place.path().join("open"));
        std::fs::create_dir(&real).unwrap();
        symlink(&real, &link).unwrap();
        std::fs::create_dir(&open).unwrap();
        std::fs::set_permissions(&open, PermissionsExt::from_mode(0o777)).unwrap();
        for path in [&link, &open, &place.path().join("real/file")] {
            std::fs::write(place.path().join("real/file"), "").unwrap();
            assert_eq!(Directory::open_or_make(path).unwrap_err().code, exit::STORE, "{path:?}");
        }
    }

    #[test]
    fn a_directory_that_was_made_again_goes_on_with_the_epoch() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("store");
        Directory::open_or_make(&path).unwrap().keep_epoch(7, 1, Format::Text).unwrap();
        let directory = Directory::open_or_make(&path).unwrap();
        directory.keep_epoch(7, 1, Format::Text).unwrap();
        directory.keep_epoch(8, 2, Format::Text).unwrap();
        let era = Era { format: Format::Text, since: 0 };
        assert_eq!(directory.begin_epoch(Ok), Ok(Begun { epoch: 9, era: Some(era), run: 2 }));
        assert_eq!(directory.keep_epoch(8, 2, Format::Text).unwrap_err().code, exit::STORE);
    }

    #[test]
    fn a_newer_layout_is_refused() {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join(STORE), "version = 2\nepoch = 9\nformat = \"text\"\n").unwrap();
        let refused = Directory::open_or_make(place.path()).unwrap().begin_epoch(Ok).unwrap_err();
        assert_eq!(refused.code, exit::STORE);
    }
}
