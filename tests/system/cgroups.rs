//! Control groups of its own for each machine: two containers that were started from one group would manage the same tree.
//!
//! Works with cgroup v2, v1 and both.
use crate::support::came_true;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

const PREFIX: &str = "echostored-machine-";

/// One group in each hierarchy, removed with all below it when dropped.
#[derive(Debug)]
pub struct Cgroups {
    groups: Vec<PathBuf>,
}

impl Cgroups {
    /// Makes a group below our own, wherever that may be, for this process's machine.
    pub fn new() -> Self {
        let name = &format!("{PREFIX}{}", std::process::id());
        let own = fs::read_to_string("/proc/self/cgroup").unwrap();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let groups = own.lines().filter_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (controllers, path) = (fields.next()?, fields.next()?);
            // A new group of cpuset v1 takes no process before it is given CPUs.
            let mount = (controllers != "cpuset").then(|| mounted(&mounts, controllers)).flatten()?;
            Some(mount.join(path.trim_start_matches('/')).join(name))
        });
        let groups: Vec<PathBuf> = groups.filter(|group| fs::create_dir_all(group).is_ok()).collect();
        groups.iter().for_each(|group| sweep(group.parent().unwrap()));
        Self { groups }
    }

    /// The files into which a process writes its number to enter.
    pub fn doors(&self) -> impl Iterator<Item = PathBuf> {
        self.groups.iter().map(|group| group.join("cgroup.procs"))
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        // Who is just dying still is a member.
        let empty = came_true(Duration::from_secs(10), || self.groups.iter().all(|group| remove(group)));
        if !empty {
            eprintln!("control groups are left: {:?}", self.groups);
        }
    }
}

/// Where the hierarchy of these controllers is mounted; of v2 if there are none.
fn mounted(mountinfo: &str, controllers: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let (place, kind) = line.split_once(" - ")?;
        let mut kind = kind.split(' ');
        let (kind, options) = (kind.next()?, kind.nth(1)?);
        let fits = match controllers {
            "" => kind == "cgroup2",
            _ => kind == "cgroup" && controllers.split(',').all(|one| options.split(',').any(|option| option == one)),
        };
        fits.then(|| PathBuf::from(place.split(' ').nth(4).expect("a mount point")))
    })
}

/// Removes the groups of machines whose test process was killed.
fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            remove(&entry.path());
        }
    }
}

/// Removes a group and those below it; whether it is gone.
fn remove(group: &Path) -> bool {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path());
        }
    }
    let _ = fs::remove_dir(group);
    !group.exists()
}
