//! Files by descriptor: read, positioned vectored write, sync, link, lock.
use super::{AsFd, AsRawFd, BorrowedFd, OwnedFd, retry};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, FallocateFlags, OFlag, fallocate, openat, renameat};
use nix::libc;
use nix::sys::stat::{FchmodatFlags, FileStat, Mode, fchmod, fstat, fstatat};
use nix::unistd::{UnlinkatFlags, linkat, unlinkat};
use std::fs::File;
use std::io::{self, IoSlice};
use std::path::Path;

/// Reads once, appending at most `limit` bytes to `buffer`'s end. 0: end of file.
pub fn read_append(fd: BorrowedFd<'_>, buffer: &mut Vec<u8>, limit: usize) -> io::Result<usize> {
    if buffer.capacity() - buffer.len() < limit {
        buffer.reserve(limit);
    }
    let spare = buffer.spare_capacity_mut();
    let room = spare.len().min(limit);
    let start = spare.as_mut_ptr();
    // SAFETY: `start` points to `room` writable bytes of the vector's spare capacity, which read only writes to.
    let count = retry(|| unsafe { libc::read(fd.as_raw_fd(), start.cast(), room) })?;
    // SAFETY: the kernel has initialised `count` <= `room` bytes right behind the old length.
    unsafe { buffer.set_len(buffer.len() + count) };
    Ok(count)
}

/// Writes once to a pipe or file at its own position (write(2)); may be short.
pub fn write(fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    loop {
        match nix::unistd::write(fd, bytes) {
            Err(Errno::EINTR) => {}
            result => return Ok(result?),
        }
    }
}

/// Writes all of `slices` at `offset` (pwritev(2)), going on after short writes at the offset reached.
///
/// On an error some of the bytes may be in the file: the caller writes the same bytes again at the same offset.
pub fn write_all_at(file: &File, mut slices: &mut [IoSlice<'_>], mut offset: u64) -> io::Result<()> {
    /// `IOV_MAX` of Linux, uio(7).
    const BATCH: usize = 1024;
    IoSlice::advance_slices(&mut slices, 0);
    while !slices.is_empty() {
        let position = i64::try_from(offset).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        let batch = &slices[..slices.len().min(BATCH)];
        let written = match nix::sys::uio::pwritev(file, batch, position) {
            Err(Errno::EINTR) => continue,
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            result => result?,
        };
        IoSlice::advance_slices(&mut slices, written);
        offset += written as u64;
    }
    Ok(())
}

/// Has the file system keep room for `length` bytes at `offset` (fallocate(2)); the file's length and bytes stay as they
/// are. Not every file system can.
pub fn reserve(file: &File, offset: u64, length: u64) -> io::Result<()> {
    let [offset, length] = [offset, length].map(i64::try_from);
    let (Ok(offset), Ok(length)) = (offset, length) else { return Err(io::ErrorKind::FileTooLarge.into()) };
    loop {
        match fallocate(file, FallocateFlags::FALLOC_FL_KEEP_SIZE, offset, length) {
            Err(Errno::EINTR) => {}
            result => return Ok(result?),
        }
    }
}

/// Asks the file system for `length` bytes in a file without a name (open(2), `O_TMPFILE`) in `directory`, which is gone
/// with them when this returns, or by a kill. Where no such file can be made the error has no code.
pub fn try_room(directory: &impl AsFd, length: u64) -> io::Result<()> {
    let flags = OFlag::O_TMPFILE | OFlag::O_RDWR | OFlag::O_CLOEXEC;
    // Also for want of an inode, which says nothing of room.
    let made = openat(directory, ".", flags, Mode::S_IRUSR | Mode::S_IWUSR);
    let file = File::from(made.map_err(|_| io::Error::from(io::ErrorKind::Unsupported))?);
    reserve(&file, 0, length)
}

/// Opens `name` below `directory`, never following a symlink, never blocking on a FIFO, never becoming a terminal.
pub fn open_at(directory: BorrowedFd<'_>, name: &str, access: Access, mode: u32) -> io::Result<File> {
    let flags = match access {
        Access::Read => OFlag::O_RDONLY,
        Access::ReadWrite => OFlag::O_RDWR,
        Access::Append => OFlag::O_RDWR | OFlag::O_APPEND,
        Access::CreateNew => OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL,
        Access::Create => OFlag::O_RDWR | OFlag::O_CREAT,
        Access::Directory => OFlag::O_RDONLY | OFlag::O_DIRECTORY,
    };
    let always = OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW | OFlag::O_NOCTTY | OFlag::O_NONBLOCK;
    let fd = openat(directory, name, flags | always, Mode::from_bits_truncate(mode))?;
    Ok(File::from(fd))
}

/// What a file is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading only.
    Read,
    /// Reading and writing an existing file.
    ReadWrite,
    /// Reading an existing file, and writing at its end.
    Append,
    /// A new file; one that exists is an error.
    CreateNew,
    /// Reading and writing, made if it is not there.
    Create,
    /// A directory.
    Directory,
}

/// Opens a directory by path; the path's last part must not be a symlink.
pub fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Ok(nix::fcntl::open(path, flags, Mode::empty())?)
}

/// Names a place in the file system, following links, without any right to it (open(2), `O_PATH`).
pub fn open_place(path: &str) -> io::Result<OwnedFd> {
    Ok(nix::fcntl::open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?)
}

/// `fstat(2)`.
pub fn stat(fd: impl AsFd) -> io::Result<FileStat> {
    Ok(fstat(fd)?)
}

/// `fstatat(2)`, the link itself when `name` is a symlink.
pub fn stat_at(directory: BorrowedFd<'_>, name: &str) -> io::Result<FileStat> {
    Ok(fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW)?)
}

/// Blocks of a file system (fstatvfs(3)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// All.
    pub total: u64,
    /// Not used.
    pub free: u64,
    /// Of these, what may be used without privilege.
    pub available: u64,
}

/// The space of the file system that `fd` is on.
pub fn space(fd: &impl AsFd) -> io::Result<Space> {
    let stat = nix::sys::statvfs::fstatvfs(fd)?;
    Ok(Space { total: stat.blocks(), free: stat.blocks_free(), available: stat.blocks_available() })
}

/// Bytes of the file system that `fd` is on: all, and what may still be used without privilege.
pub fn room(fd: &impl AsFd) -> io::Result<(u64, u64)> {
    let stat = nix::sys::statvfs::fstatvfs(fd)?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.fragment_size());
    Ok((bytes(stat.blocks()), bytes(stat.blocks_available())))
}

/// Whether it is a regular file (inode(7)).
pub fn is_regular(stat: &FileStat) -> bool {
    stat.st_mode & libc::S_IFMT == libc::S_IFREG
}

/// Whether it is a Unix socket (inode(7)).
pub fn is_socket(stat: &FileStat) -> bool {
    stat.st_mode & nix::libc::S_IFMT == nix::libc::S_IFSOCK
}

/// `lstat(2)`: of the path's last part itself, if that is a symlink.
pub fn stat_path(path: &Path) -> io::Result<FileStat> {
    Ok(nix::sys::stat::lstat(path)?)
}

/// Sets permission bits, whatever the umask was at creation (fchmod(2)).
pub fn set_mode(fd: impl AsFd, mode: u32) -> io::Result<()> {
    Ok(fchmod(fd, Mode::from_bits_truncate(mode))?)
}

/// Sets permission bits of a name (fchmodat(2)).
pub fn set_mode_at(directory: BorrowedFd<'_>, name: &str, mode: u32) -> io::Result<()> {
    Ok(nix::sys::stat::fchmodat(directory, name, Mode::from_bits_truncate(mode), FchmodatFlags::FollowSymlink)?)
}

/// `renameat(2)` within one directory.
pub fn rename_at(directory: BorrowedFd<'_>, from: &str, to: &str) -> io::Result<()> {
    Ok(renameat(directory, from, directory, to)?)
}

/// `linkat(2)` within one directory.
pub fn link_at(directory: BorrowedFd<'_>, from: &str, to: &str) -> io::Result<()> {
    Ok(linkat(directory, from, directory, to, AtFlags::empty())?)
}

/// `unlinkat(2)`; a name that is not there is no error.
pub fn unlink_at(directory: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    match unlinkat(directory, name, UnlinkatFlags::NoRemoveDir) {
        Err(Errno::ENOENT) => Ok(()),
        result => Ok(result?),
    }
}

/// Makes a directory's names durable (fsync(2) on its descriptor).
pub fn sync_directory(directory: BorrowedFd<'_>) -> io::Result<()> {
    Ok(nix::unistd::fsync(directory)?)
}

/// Takes an exclusive `flock(2)` without waiting: false if another open file description holds it.
///
/// The lock belongs to the description: every process that inherited the descriptor holds it, and it is free only
/// when the last of them has closed it.
pub fn try_lock(file: &File) -> io::Result<bool> {
    // SAFETY: flock takes a descriptor and no memory; `file` is open for the whole call.
    match retry(|| unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) as isize }) {
        Ok(_) => Ok(true),
        Err(error) if super::would_block(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether some process holds a `flock(2)` on the file of this inode, as `/proc/locks` tells it (proc_locks(5)): without
/// taking the lock even for an instant, which could turn away a daemon that starts just then.
///
/// # Errors
/// There is no `/proc/locks` to read; the answer is then unknown.
pub fn is_locked(inode: u64) -> io::Result<bool> {
    Ok(names_lock(&std::fs::read_to_string("/proc/locks")?, inode))
}

/// Lines such as `1: FLOCK  ADVISORY  WRITE 1234 08:01:5678 0 EOF`; the device is not compared, since file systems made
/// of several show another one to `stat`.
fn names_lock(table: &str, inode: u64) -> bool {
    table.lines().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>()).any(|fields| {
        let place = fields.get(5).and_then(|place| place.rsplit(':').next());
        fields.get(1) == Some(&"FLOCK") && place.and_then(|inode| inode.parse().ok()) == Some(inode)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_seen_in_the_kernels_table() {
        let table = "1: POSIX  ADVISORY  WRITE 1 08:01:77 0 EOF\n2: FLOCK  ADVISORY  WRITE 2 fd:00:42 0 EOF\n2: -> FLOCK  ADVISORY  WRITE 3 fd:00:43 0 EOF\n";
        assert!(names_lock(table, 42));
        assert!(!names_lock(table, 77) && !names_lock(table, 43) && !names_lock("garbage\n\n", 1));
    }

    #[test]
    fn a_short_write_goes_on_where_it_stopped() {
        let file = tempfile::tempfile().unwrap();
        let parts: Vec<Vec<u8>> = (0..3000u32).map(|n| n.to_le_bytes().to_vec()).collect();
        let mut slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
        write_all_at(&file, &mut slices, 10).unwrap();
        let mut back = vec![0; 12_000];
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut back, 10).unwrap();
        assert_eq!(back, parts.concat());
    }
}
