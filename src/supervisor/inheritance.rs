//! A run of the daemon that another supervisor began and could not end: everybody was killed, and the service manager
//! has kept what its next writer needs.
//!
//! Promise: a run is gone on with only by the daemon that comes right after, on the same store, in the same format;
//! then its writer's successor goes by the commit record and the pipes as after any writer's death. Whatever is not
//! gone on with is let go, and if bytes were left in its pipes, that is an error with their number.
use super::notify::Notify;
use super::passed::{Kept, Passed};
use super::start::OpenStore;
use crate::config::{Choice, Config};
use crate::ipc::commit::CommitRecord;
use crate::ipc::link::{self, Link, PrivatePipe};
use crate::ipc::register::Register;
use crate::store::directory::Directory;
use crate::store::recovery::CleanEnd;
use crate::sys::process::random_word;
use crate::sys::{AsFd, OwnedFd, crash, file, pipe};
use std::io;

/// What outlives every process of a run.
#[derive(Debug)]
pub struct Run {
    /// What was agreed on over its links.
    pub register: Register,
    /// The register's memory, to be kept by the service manager; `None`: it is.
    pub register_memory: Option<OwnedFd>,
    /// The writer's commit record.
    pub commit: OwnedFd,
    /// The writer's private pipe.
    pub private: PrivatePipe,
    /// The links whose workers are dead.
    pub links: Vec<Link>,
}

impl Run {
    /// Begins a run.
    pub fn begin() -> io::Result<Self> {
        let memory = Register::memory()?;
        Ok(Self {
            register: Register::map(memory.as_fd())?,
            register_memory: Some(memory),
            commit: CommitRecord::memory()?,
            private: PrivatePipe::new()?,
            links: Vec::new(),
        })
    }

    /// The id of the run to which this start belongs: that of the one that was kept, if it is the `last` that has used the
    /// store and has not ended well, else a new one. A start that fails behind this changes nothing of it.
    pub fn id(passed: &Passed, last: u64, directory: &Directory) -> io::Result<u64> {
        let register = passed.kept.iter().find(|(kept, _)| *kept == Kept::Register);
        let register = register.and_then(|(_, memory)| Register::map(memory.as_fd()).ok());
        let goes_on = register.is_some_and(|register| last > 0 && register.run() == last);
        let ended_well = CleanEnd::read(directory.as_fd()).is_ok_and(|note| note.is_some());
        if goes_on && !ended_well { Ok(last) } else { Ok((random_word()? >> 1).max(1)) }
    }

    /// Goes on with the one that was kept, if that can be done, or begins one. What is not used is let go.
    pub fn go_on_or_begin(passed: Passed, store: &OpenStore, config: &Config, notify: &mut Notify) -> io::Result<Self> {
        let word = store_word(store, config)?;
        let mut parts = Parts::sort(passed);
        let run = match parts.judge(word, store) {
            Ok(register) => Some(parts.assemble(register)?),
            Err(why) => {
                parts.tell_loss(why);
                parts.spoil();
                None
            }
        };
        let links = run.as_ref().map(|run| run.links.iter().map(|link| link.terms.id).collect::<Vec<_>>());
        for (kept, name) in &parts.names {
            if !links.as_ref().is_some_and(|links| is_used(*kept, links)) {
                notify.remove(name);
            }
        }
        let run = run.map_or_else(Self::begin, Ok)?;
        run.register.set_store(word);
        run.register.set_run(store.run);
        crash::point("run-taken-up");
        Ok(run)
    }

    /// Has the service manager keep what it does not keep yet.
    pub fn keep(&mut self, notify: &mut Notify) {
        let Some(register) = self.register_memory.take() else { return };
        notify.store(&Kept::Register.name(), &register);
        notify.store(&Kept::Commit.name(), &self.commit);
        notify.store(&Kept::PrivateRead.name(), &self.private.read);
        notify.store(&Kept::PrivateWrite.name(), &self.private.write);
    }

    /// Has it keep a new link, before anything can be in its pipe.
    pub fn keep_link(&self, link: &Link, notify: &mut Notify) {
        self.register.enter(link.terms);
        crash::point("link-entered");
        notify.store(&Kept::Data(link.terms.id).name(), &link.data);
        notify.store(&Kept::Staging(link.terms.id).name(), &link.staging);
        crash::point("link-kept");
    }

    /// Has it let go of a link that is drained.
    pub fn drop_link(&mut self, id: u64, notify: &mut Notify) {
        self.links.retain(|link| link.terms.id != id);
        remove_link(id, notify);
        self.register.strike(id);
    }

    /// Notes the store, whose directory was made again.
    pub fn follow(&self, store: &OpenStore, config: &Config) {
        if let Ok(word) = store_word(store, config) {
            self.register.set_store(word);
        }
    }

    /// The run has come to a clean end: there is nothing to go on with.
    pub fn end(&self, notify: &mut Notify) {
        for kept in [Kept::Register, Kept::Commit, Kept::PrivateRead, Kept::PrivateWrite] {
            notify.remove(&kept.name());
        }
        self.links.iter().for_each(|link| remove_link(link.terms.id, notify));
    }
}

fn remove_link(id: u64, notify: &mut Notify) {
    notify.remove(&Kept::Data(id).name());
    notify.remove(&Kept::Staging(id).name());
}

/// What was kept of a run, as far as it is there.
#[derive(Debug, Default)]
struct Parts {
    register: Option<OwnedFd>,
    commit: Option<OwnedFd>,
    private: (Option<OwnedFd>, Option<OwnedFd>),
    data: Vec<(u64, OwnedFd)>,
    staging: Vec<(u64, OwnedFd)>,
    strange: Vec<OwnedFd>,
    /// All names; `None`: of another layout.
    names: Vec<(Option<Kept>, String)>,
}

impl Parts {
    fn sort(passed: Passed) -> Self {
        let mut parts = Self::default();
        for (kept, fd) in passed.kept {
            parts.names.push((Some(kept), kept.name()));
            match kept {
                Kept::Register => parts.register = Some(fd),
                Kept::Commit => parts.commit = Some(fd),
                Kept::PrivateRead => parts.private.0 = Some(fd),
                Kept::PrivateWrite => parts.private.1 = Some(fd),
                Kept::Data(id) => parts.data.push((id, fd)),
                Kept::Staging(id) => parts.staging.push((id, fd)),
                Kept::Listener(_) => {}
            }
        }
        for (name, fd) in passed.strange {
            parts.names.push((None, name));
            parts.strange.push(fd);
        }
        parts
    }

    /// The register, if the run can be gone on with; else why not.
    fn judge(&self, word: u64, store: &OpenStore) -> Result<Register, &'static str> {
        const INCOMPLETE: &str = "part of what it left is missing, or of another version";
        // The writer maps it only later, when the register is claimed: what it cannot use would end every start.
        let commit = self.commit.as_ref().is_some_and(|commit| CommitRecord::map(commit.as_fd()).is_ok());
        let complete = commit && self.private.0.is_some() && self.private.1.is_some();
        let register = self.register.as_ref().filter(|_| complete).ok_or(INCOMPLETE)?;
        let register = Register::map(register.as_fd()).map_err(|_| INCOMPLETE)?;
        match () {
            () if register.store() != word => Err("it wrote to another store, or in another format"),
            () if register.run() != store.run => Err("it ended well, or the store was used by another one since"),
            () => Ok(register),
        }
    }

    /// The service manager may not hear that it is to let go of it: no later start may go on with it.
    fn spoil(&self) {
        if let Some(register) = self.register.as_ref().and_then(|memory| Register::map(memory.as_fd()).ok()) {
            register.set_run(0);
        }
    }

    fn assemble(&mut self, register: Register) -> io::Result<Run> {
        let missing = || io::Error::from(io::ErrorKind::NotFound);
        let (read, write) = (self.private.0.take().ok_or_else(missing)?, self.private.1.take().ok_or_else(missing)?);
        let mut links = Vec::new();
        for terms in register.terms() {
            let Some(staging) = take(&mut self.staging, terms.id).filter(|_| has(&self.data, terms.id)) else {
                // Its supervisor was killed before it was kept, or the manager kept only part of it.
                register.strike(terms.id);
                continue;
            };
            if let Some(data) = take(&mut self.data, terms.id) {
                links.push(link::of_dead_worker(terms, data, staging)?);
            }
        }
        self.tell_loss("part of what it left is missing, or of another version");
        let bytes: usize = links.iter().map(|link| pipe::unread(link.data.as_fd()).unwrap_or(0)).sum();
        crate::notice!(
            RUN_CONTINUED { bytes: bytes },
            "going on where the last run was killed; its pipes hold {bytes} bytes that are not in the store yet"
        );
        let size = pipe::size(write.as_fd())?;
        let commit = self.commit.take().ok_or_else(missing)?;
        Ok(Run { register, register_memory: None, commit, private: PrivatePipe { read, write, size }, links })
    }

    /// Tells what is lost with pipes that nobody takes up.
    fn tell_loss(&self, why: &str) {
        let pipes = self.data.iter().map(|(_, fd)| fd).chain(&self.strange);
        let bytes: usize = pipes.map(|fd| pipe::unread(fd.as_fd()).unwrap_or(0)).sum();
        if bytes > 0 {
            tell_lost(bytes, why);
        }
    }
}

/// A start that no service manager repeats (`RestartPreventExitStatus=`) ends here: what it was passed is let go.
pub fn tell_let_go(passed: &Passed) {
    let pipes = passed.kept.iter().filter(|(kept, _)| matches!(kept, Kept::Data(_)));
    let bytes: usize = pipes.map(|(_, fd)| pipe::unread(fd.as_fd()).unwrap_or(0)).sum();
    if bytes > 0 {
        tell_lost(bytes, "the configuration cannot be used");
    }
}

fn tell_lost(bytes: usize, why: &str) {
    crate::error!(
        RUN_NOT_CONTINUED { bytes: bytes },
        "{bytes} bytes that the last run had not stored are lost, since {why}; none of it was echoed but in received mode"
    );
}

fn take(parts: &mut Vec<(u64, OwnedFd)>, id: u64) -> Option<OwnedFd> {
    let index = parts.iter().position(|(kept, _)| *kept == id)?;
    Some(parts.swap_remove(index).1)
}

fn has(parts: &[(u64, OwnedFd)], id: u64) -> bool {
    parts.iter().any(|(kept, _)| *kept == id)
}

fn is_used(kept: Option<Kept>, links: &[u64]) -> bool {
    match kept {
        None => false,
        Some(Kept::Data(id) | Kept::Staging(id)) => links.contains(&id),
        Some(_) => true,
    }
}

/// A word for the very directory, format and names that a run's frames are made for: FNV-1a (RFC 9923), since it must be
/// the same in another build.
fn store_word(store: &OpenStore, config: &Config) -> io::Result<u64> {
    let stat = file::stat(&store.directory)?;
    let (device, inode) = (stat.st_dev.to_le_bytes(), stat.st_ino.to_le_bytes());
    let parts: [&[u8]; 4] = [&device, &inode, config.store.format.name().as_bytes(), config.store.prefix.as_bytes()];
    let hash = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    Ok(parts.iter().flat_map(|part| part.iter()).fold(0xcbf2_9ce4_8422_2325, hash))
}
