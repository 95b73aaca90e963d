//! From a configuration to everything a role needs: the store locked, the listeners bound, the user switched, in that
//! order, before anything is forked.
use super::control::{self, Control};
use super::export::Outlet;
use super::inheritance::Run;
use super::listeners::{Listeners, Wanted};
use super::notify::Notify;
use super::passed::Passed;
use super::pidfile::PidFile;
use crate::config::{Config, Echo, OnDiskFull};
use crate::exit::{self, Fatal};
use crate::ipc::admission::Admission;
use crate::ipc::sandbox::{self, InForce};
use crate::store::directory::{Begun, Directory, Era};
use crate::sys::user::{self, Identity};
use crate::sys::{AsFd, OwnedFd, RawFd, file, process};
use crate::tls;
use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Component, Path};

const UMASK: u32 = 0o027;
/// For the parents of the store's directory.
const PARENTS_UMASK: u32 = 0o022;

/// What lives as long as the daemon.
#[derive(Debug)]
pub struct Ground {
    pub store: OpenStore,
    pub listeners: Listeners,
    /// What the workers are to those who speak TLS.
    pub tls: Option<tls::Server>,
    pub control: Control,
    /// Where metrics are served, if they are.
    pub outlet: Option<Outlet>,
    pub run: Run,
    pub admission_memory: OwnedFd,
    pub admission: Admission,
    pub pid_file: Option<PidFile>,
    /// What holds for the supervisor and all that it starts.
    pub sandbox: InForce,
}

/// The store, ready to be written to.
#[derive(Debug)]
pub struct OpenStore {
    pub directory: OwnedFd,
    pub lock: File,
    /// The store's start epoch.
    pub epoch: u32,
    /// The format of what the last run left.
    pub era: Option<Era>,
    /// The directory has taken the place of one that was deleted, and no segment was begun in it yet.
    pub moved: bool,
    /// The id of the run of the daemon, which may have begun with a supervisor before.
    pub run: u64,
}

/// Prepares it all. `detached`: `[daemon]` counts.
pub fn prepare(config: &Config, detached: bool, passed: Passed, notify: &mut Notify) -> Result<Ground, Fatal> {
    let identity = if detached { identity(config)? } else { None };
    let pid_file = detached.then(|| PidFile::claim(&config.daemon.pid_file, identity.as_ref())).transpose()?;
    match occupy(config, identity.as_ref(), passed, notify) {
        Ok(ground) => Ok(Ground { pid_file, ..ground }),
        Err(fatal) => {
            if let Some(pid_file) = pid_file {
                pid_file.remove();
            }
            Err(fatal)
        }
    }
}

fn occupy(
    config: &Config,
    identity: Option<&Identity>,
    mut passed: Passed,
    notify: &mut Notify,
) -> Result<Ground, Fatal> {
    let system = |error: io::Error| Fatal::system("prepare the processes", error);
    if let Some(identity) = identity {
        make_directory_for(config, identity)?;
    }
    // The directory is the daemon's user's: root never opens a file there.
    let store = match identity {
        Some(identity) => identity.act_as(|| open_store(config, &passed)).map_err(cannot_become)??,
        None => open_store(config, &passed)?,
    };
    let mut listeners = Listeners::adopt(&mut passed)?;
    // Still with the starter's privileges: the key may be root's alone.
    let tls = tls::Server::load(&config.tls)?;
    listeners.check(tls.is_some())?;
    listeners.follow(&Wanted::of_the_network(config))?;
    let outlet = Outlet::open(config)?;
    if let Some(identity) = identity.filter(|identity| !identity.is_current()) {
        if let Some(directory) = control::directory(&config.control) {
            // If this fails, so will the making of the socket there, which tells why.
            let _ = make_for(&directory, identity);
        }
        identity.assume().map_err(cannot_become)?;
    }
    listeners.follow(&Wanted::of(config))?;
    // As the user that all run as, and before anything is forked.
    let sandbox = sandbox::confine_supervisor(config.security.sandbox)?;
    let control = Control::open(&config.control)?;
    // As the user that the roles run as: the pipes count against its limits.
    let mut run = Run::go_on_or_begin(passed, &store, config, notify).map_err(system)?;
    listeners.keep(notify);
    run.keep(notify);
    let admission_memory = Admission::memory().map_err(system)?;
    let admission = Admission::map(admission_memory.as_fd()).map_err(system)?;
    Ok(Ground { store, listeners, tls, control, outlet, run, admission_memory, admission, pid_file: None, sandbox })
}

fn cannot_become(error: io::Error) -> Fatal {
    Fatal::new(exit::CONFIG, format!("cannot become daemon.user: {error}; start as root, or leave daemon.user empty"))
}

fn open_store(config: &Config, passed: &Passed) -> Result<OpenStore, Fatal> {
    let directory = Directory::open_or_make(&config.store.directory)?;
    let lock = directory.lock()?;
    let Begun { epoch, era, run } = directory.begin_epoch(|last| Run::id(passed, last, &directory))?;
    if epoch == 1 {
        crate::notice!(NEW_STORE, "{} holds no store yet: a new one is begun", config.store.directory.display());
    }
    if config.store.on_disk_full == OnDiskFull::Reject && config.server.echo == Echo::Received {
        crate::notice!(
            REJECT_WITHOUT_EFFECT,
            "store.on-disk-full = \"reject\" has no effect with server.echo = \"received\": what was echoed waits for room"
        );
    }
    Ok(OpenStore { directory: directory.into_fd(), lock, epoch, era, moved: false, run })
}

fn identity(config: &Config) -> Result<Option<Identity>, Fatal> {
    let (user, group) = (config.daemon.user.as_deref(), config.daemon.group.as_deref());
    let Some(user) = user else {
        return match group {
            None => Ok(None),
            Some(_) => {
                Err(Fatal::new(exit::CONFIG, "daemon.group without daemon.user means nothing; set both, or neither"))
            }
        };
    };
    match Identity::find(user, group) {
        Ok(Some(identity)) => Ok(Some(identity)),
        Ok(None) => {
            let group = group.map_or(String::new(), |group| format!(" or group {group:?}"));
            let message =
                format!("there is no user {user:?}{group}, as daemon.user says; make it with: useradd --system {user}");
            Err(Fatal::new(exit::CONFIG, message))
        }
        Err(error) => Err(Fatal::system(format_args!("look up daemon.user {user:?}"), error)),
    }
}

fn make_directory_for(config: &Config, identity: &Identity) -> Result<(), Fatal> {
    let path = &config.store.directory;
    make_for(path, identity).map_err(|error| {
        crate::store::directory::failed(&format!("make the store directory {}", path.display()), &error, path)
    })
}

/// Makes a directory as root, whose parents the user may not write to, and gives it to the user. Missing parents stay
/// root's, and everybody may pass through them, so that the user can, and its group. One that is there stays as it is.
fn make_for(path: &Path, identity: &Identity) -> io::Result<()> {
    if path.exists() || !user::is_root() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        // By the mask, not afterwards by name: nothing that somebody else puts there meanwhile gets a mode from us.
        process::set_umask(PARENTS_UMASK);
        let made = DirBuilder::new().recursive(true).mode(0o755).create(parent);
        process::set_umask(UMASK);
        made?;
    }
    DirBuilder::new().mode(0o750).create(path)?;
    user::give_to(file::open_directory(path)?, identity)
}

/// Forgets a time zone (`TZ`) that is none: the library reads the file that it names to its end, and some have none.
pub fn forget_bad_zone() -> Result<(), Fatal> {
    let Some(zone) = std::env::var_os("TZ") else { return Ok(()) };
    if zone.to_str().is_some_and(|zone| may_be_zone(zone, is_small_file)) {
        return Ok(());
    }
    crate::warn!(BAD_TIME_ZONE, "TZ={zone:?} is not used: it is neither a zone's name nor a file of one");
    process::forget_variables(&["TZ"]).map_err(|error| Fatal::system("clear the environment", error))
}

/// A name below the system's zones, a rule, or a file (tzset(3)).
fn may_be_zone(zone: &str, is_small_file: impl Fn(&Path) -> bool) -> bool {
    let path = Path::new(zone.strip_prefix(':').unwrap_or(zone));
    let climbs = path.components().any(|part| part == Component::ParentDir);
    if path.is_absolute() { is_small_file(path) } else { !climbs }
}

/// A zone's file has some KiB.
fn is_small_file(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() <= 1 << 20)
}

/// Puts in order what a careless caller may have left to this process; `passed` stays open.
pub fn sanitise(passed: &[RawFd]) -> Result<(), Fatal> {
    use nix::sys::signal::Signal;
    let set = || -> io::Result<()> {
        process::fill_standard_fds()?;
        process::close_all_but(passed)?;
        process::unblock_signals()?;
        process::set_umask(UMASK);
        // SIGXFSZ: a file size limit is then an error of the write instead of a death.
        crate::sys::signals::ignore(&[Signal::SIGPIPE, Signal::SIGXFSZ, Signal::SIGUSR2])?;
        crate::sys::signals::reset(&[Signal::SIGCHLD])?;
        process::raise_file_limit().map(|_| ())
    };
    set().map_err(|error| Fatal::system("prepare the process", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_is_a_name_a_rule_or_a_small_file() {
        let file = |path: &Path| path == Path::new("/etc/localtime");
        for zone in [
            "Europe/Berlin",
            ":Europe/Berlin",
            "UTC",
            "",
            "CET-1CEST,M3.5.0,M10.5.0/3",
            "/etc/localtime",
            ":/etc/localtime",
        ] {
            assert!(may_be_zone(zone, file), "{zone}");
        }
        for zone in ["/dev/zero", ":/dev/zero", "../../../dev/zero", ":Europe/../../../../dev/zero"] {
            assert!(!may_be_zone(zone, file), "{zone}");
        }
    }
}
