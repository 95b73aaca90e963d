//! A file system of our own, on a loop-mounted image file: small, full, failing, or with its power cut.
//!
//! Promise: what is mounted is unmounted and its loop device freed when the value is dropped, by a panic too.
use super::home::{self, Home};
use super::{DEADLINE, came_true, skip};
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What an image is made with.
#[derive(Clone, Copy, Debug)]
pub struct Make {
    /// `ext4`, `xfs`: mounted as this, made by `mkfs.` this.
    pub kind: &'static str,
    pub bytes: u64,
    /// More arguments of `mkfs`.
    pub arguments: &'static [&'static str],
    /// Mount options.
    pub options: &'static str,
}

impl Make {
    /// A journalled file system, large enough for any test.
    pub const EXT4: Self = Self { kind: "ext4", bytes: 256 << 20, arguments: &[], options: "loop" };
    /// Its `mkfs` makes none below 300 MiB.
    pub const XFS: Self = Self { kind: "xfs", bytes: 320 << 20, ..Self::EXT4 };
}

/// A mounted image. The daemon's user owns its root directory.
#[derive(Debug)]
pub struct Disk {
    make: Make,
    image: PathBuf,
    place: PathBuf,
}

impl Disk {
    /// Makes an image in `home` and mounts it where the store will be. `None`, and SKIPPED, where that is not possible.
    pub fn store(home: &Home, make: Make) -> Option<Self> {
        Self::store_on(home, make, home.join("disk.img"))
    }

    /// The same with the image at another place.
    pub fn store_on(home: &Home, make: Make, image: PathBuf) -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            skip("mounting needs root");
            return None;
        }
        File::create(&image).and_then(|file| file.set_len(make.bytes)).unwrap();
        let mkfs = format!("mkfs.{}", make.kind);
        let made = Command::new(&mkfs).arg("-q").args(make.arguments).arg(&image).output();
        match made {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                skip(&format!("no {mkfs}"));
                return None;
            }
            made => succeeded(&mkfs, &made.unwrap()).unwrap(),
        }
        let disk = Self { make, image, place: home.make_dir("store") };
        if let Err(why) = disk.try_mount() {
            skip(&format!("cannot loop-mount: {why}"));
            return None;
        }
        fs::set_permissions(&disk.place, PermissionsExt::from_mode(0o750)).unwrap();
        home::give_away(&disk.place);
        Some(disk)
    }

    pub fn place(&self) -> &Path {
        &self.place
    }

    pub fn image(&self) -> &Path {
        &self.image
    }

    fn try_mount(&self) -> Result<(), String> {
        let mut mount = Command::new("mount");
        mount.args(["-t", self.make.kind, "-o", self.make.options]).args([&self.image, &self.place]);
        succeeded("mount", &mount.output().map_err(|error| error.to_string())?)?;
        // Of mkfs or fsck; the directory is the store's alone.
        let _ = fs::remove_dir(self.place.join("lost+found"));
        Ok(())
    }

    /// Mounts it again: the journal is replayed, as after a power cut.
    pub fn mount(&self) {
        self.try_mount().unwrap();
    }

    /// Unmounts it, which frees the loop device too. Nobody may use it any more; who is just dying is waited for.
    pub fn unmount(&self) {
        let mut why = Ok(());
        let done = came_true(DEADLINE, || {
            why = succeeded("umount", &Command::new("umount").arg(&self.place).output().unwrap());
            why.is_ok()
        });
        assert!(done, "{why:?}");
    }

    /// `/dev/loopN`.
    pub fn device(&self) -> String {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let place = self.place.to_str().unwrap();
        let line = mounts.lines().rev().find(|line| line.split(' ').nth(1) == Some(place)).expect("it is mounted");
        line.split(' ').next().unwrap().to_owned()
    }

    /// Cuts the power: from now on nothing reaches the image, neither data nor journal, and every call fails.
    pub fn cut(&self) {
        shut_down(&File::open(&self.place).unwrap()).unwrap();
        let refused = fs::write(self.place.join(".after-the-cut"), "");
        assert!(refused.is_err(), "the file system still takes files after its shutdown");
    }

    /// Makes what was done to the directory by the test durable.
    pub fn sync_names(&self) {
        File::open(&self.place).unwrap().sync_all().unwrap();
    }

    /// Bytes that the daemon's user can still write.
    pub fn room(&self) -> u64 {
        let stat = nix::sys::statvfs::statvfs(&self.place).unwrap();
        stat.blocks_available() * stat.fragment_size()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a daemon that still runs holds it until its end, and the loop device frees itself then.
        let _ = Command::new("umount").args(["-q", "-l"]).arg(&self.place).output();
    }
}

fn succeeded(what: &str, output: &std::process::Output) -> Result<(), String> {
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{what}: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}

/// `EXT4_IOC_SHUTDOWN` and `XFS_IOC_GOINGDOWN`, which are one number, without flushing the log.
#[allow(unsafe_code, reason = "an ioctl that no crate has a safe function for")]
fn shut_down(root: &File) -> nix::Result<()> {
    const NO_LOG_FLUSH: u32 = 2;
    nix::ioctl_read!(going_down, b'X', 125, u32);
    let mut how = NO_LOG_FLUSH;
    // SAFETY: the kernel reads one u32 through the pointer, which lives for the whole call; the descriptor is open.
    unsafe { going_down(root.as_raw_fd(), &raw mut how) }.map(drop)
}
