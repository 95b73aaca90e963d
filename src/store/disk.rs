//! What saving records asks of a file, as a trait, so that tests can break it.
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// A file that is read and written by offset.
pub trait Disk {
    /// Reads once at `offset`; 0 at the end of the file (pread(2)).
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all of `bytes` at `offset` (pwrite(2)).
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
}

impl Disk for Arc<File> {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(&**self, buffer, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        FileExt::write_all_at(&**self, bytes, offset)
    }
}
