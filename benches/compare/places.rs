//! Where servers store while they are measured.
use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A kind of file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// tmpfs: the disk is not what is measured.
    Memory,
    /// A file system on a disk.
    Disk,
}

/// The directories that stand for the two.
#[derive(Clone, Debug)]
pub struct Places {
    pub memory: PathBuf,
    pub disk: PathBuf,
}

impl Places {
    /// Checks what was named; chooses what was not.
    pub fn choose(memory: Option<PathBuf>, disk: Option<PathBuf>) -> Result<Self, String> {
        let memory = memory.unwrap_or_else(|| "/dev/shm".into());
        if !is_tmpfs(&memory) {
            let advice = "mount one (mount -t tmpfs tmpfs DIR) and name it with --memory DIR";
            return Err(format!(
                "{} is not on tmpfs, where the disk is not what is measured: {advice}",
                memory.display()
            ));
        }
        let candidates =
            [disk.clone(), Some(std::env::temp_dir()), Some("/var/tmp".into()), std::env::current_dir().ok()];
        let found = candidates.into_iter().flatten().find(|path| disk.is_some() || !is_tmpfs(path));
        match found {
            Some(disk) if !is_tmpfs(&disk) => Ok(Self { memory, disk }),
            _ => Err("syncing is measured on a file system of a disk, not on tmpfs: name a directory with --disk DIR"
                .to_owned()),
        }
    }

    pub fn path(&self, place: Place) -> &Path {
        match place {
            Place::Memory => &self.memory,
            Place::Disk => &self.disk,
        }
    }

    /// The file system's name, as in `/proc/mounts`.
    pub fn file_system(&self, place: Place) -> String {
        let path = self.path(place).canonicalize().unwrap_or_default();
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        kind_of(&mounts, &path).unwrap_or_else(|| "of unknown kind".to_owned())
    }
}

fn is_tmpfs(path: &Path) -> bool {
    statfs(path).is_ok_and(|found| found.filesystem_type() == TMPFS_MAGIC)
}

/// The kind of the mount that holds `path`: the longest of those it lies in; of two at one place the later.
fn kind_of(mounts: &str, path: &Path) -> Option<String> {
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let holding = fields.filter(|fields| fields.len() > 2 && path.starts_with(fields[1]));
    holding.max_by_key(|fields| fields[1].len()).map(|fields| fields[2].to_owned())
}

/// An address of loopback that was free a moment ago, below the ports that the kernel gives to outgoing connections.
pub fn free_address() -> Result<SocketAddr, String> {
    static LAST: AtomicU32 = AtomicU32::new(0);
    let own = std::process::id().wrapping_mul(131);
    for _ in 0..1000 {
        let number = own.wrapping_add(LAST.fetch_add(1, Ordering::Relaxed)) % 20_000;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 12_000 + u16::try_from(number).unwrap_or(0)));
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    Err("a thousand ports of 127.0.0.1 are all taken".to_owned())
}

#[cfg(test)]
#[allow(dead_code, unused_imports, reason = "run by tests/benches.rs; a program without a harness only compiles them")]
mod tests {
    use super::*;

    #[test]
    fn the_longest_mount_that_holds_a_path_tells_its_kind() {
        let mounts = "/dev/vda / ext4 rw 0 0\ntmpfs /dev/shm tmpfs rw 0 0\nx /dev devtmpfs rw 0 0\n";
        let kind = |path: &str| kind_of(mounts, Path::new(path));
        assert_eq!(kind("/dev/shm/a").as_deref(), Some("tmpfs"));
        assert_eq!(kind("/dev/shmx").as_deref(), Some("devtmpfs"));
        assert_eq!(kind("/home").as_deref(), Some("ext4"));
        assert_eq!(kind_of("", Path::new("/")), None);
    }
}
