//! A small file system where the store will be (tmpfs), with a file in it that takes up half of the room.
use super::home::Home;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::fs;
use std::path::PathBuf;

/// Mounted until it is dropped.
pub struct Small {
    store: PathBuf,
    size: usize,
}

impl Small {
    /// `None` without root, which mounting needs.
    pub fn new(home: &Home, size: usize) -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            super::skip("mounting a tmpfs needs root");
            return None;
        }
        let store = home.join("store");
        fs::create_dir_all(&store).unwrap();
        let options = format!("size={size},mode=0750,uid=65534,gid=65534");
        mount(Some("tmpfs"), &store, Some("tmpfs"), MsFlags::empty(), Some(options.as_str())).unwrap();
        let small = Self { store, size };
        small.take_room();
        Some(small)
    }

    /// Begins with a dot: not a name of the store's, and nobody's business.
    fn filler(&self) -> PathBuf {
        self.store.join(".filler")
    }

    /// Takes up half of all the room, or what there is of it.
    pub fn take_room(&self) {
        match fs::write(self.filler(), vec![0; self.size / 2]) {
            Err(error) if error.kind() != std::io::ErrorKind::StorageFull => panic!("{error}"),
            _ => {}
        }
    }

    /// Gives it back.
    pub fn give_room(&self) {
        fs::remove_file(self.filler()).unwrap();
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = umount2(&self.store, MntFlags::MNT_DETACH);
    }
}
