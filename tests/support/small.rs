//! A small file system where the store will be (tmpfs), whose size the test changes as it runs.
use super::home::Home;
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::statvfs::statvfs;
use std::fs;
use std::path::PathBuf;

/// More than any test stores.
const ROOM: u64 = 1 << 30;

/// Mounted until it is dropped.
pub struct Small {
    store: PathBuf,
}

impl Small {
    /// With so many bytes. `None` without root, which mounting needs.
    pub fn new(home: &Home, size: u64) -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            super::skip("mounting a tmpfs needs root");
            return None;
        }
        let store = home.join("store");
        fs::create_dir_all(&store).unwrap();
        let small = Self { store };
        small.mount(MsFlags::empty(), size).unwrap();
        Some(small)
    }

    fn mount(&self, flags: MsFlags, size: u64) -> nix::Result<()> {
        self.mount_with(flags, &format!("size={size}"))
    }

    fn mount_with(&self, flags: MsFlags, options: &str) -> nix::Result<()> {
        let options = format!("{options},mode=0750,uid=65534,gid=65534");
        mount(Some("tmpfs"), &self.store, Some("tmpfs"), flags, Some(options.as_str()))
    }

    /// Makes room for whatever comes.
    pub fn give_room(&self) {
        self.mount(MsFlags::MS_REMOUNT, ROOM).unwrap();
    }

    /// Leaves room for no more files, nor links to them.
    pub fn leave_no_inodes(&self) {
        let found = statvfs(&self.store).unwrap();
        let used = found.files() - found.files_free();
        self.mount_with(MsFlags::MS_REMOUNT, &format!("nr_inodes={used}")).unwrap();
    }

    pub fn give_inodes(&self) {
        self.mount_with(MsFlags::MS_REMOUNT, "nr_inodes=100000").unwrap();
    }

    /// Bytes that are used.
    pub fn used(&self) -> u64 {
        let found = statvfs(&self.store).unwrap();
        (found.blocks() - found.blocks_free()) * found.fragment_size()
    }

    /// Leaves room for `more` bytes only.
    pub fn leave_room(&self, more: u64) {
        loop {
            match self.mount(MsFlags::MS_REMOUNT, self.used() + more) {
                // More was written since the look.
                Err(Errno::EINVAL) => {}
                result => return result.unwrap(),
            }
        }
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = umount2(&self.store, MntFlags::MNT_DETACH);
    }
}
