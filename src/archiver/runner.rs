//! The hook runner: a small process that the archiver forks before it shuts itself in, only if there is a hook. The hook may
//! do whatever the operator's program must, and would inherit the archiver's sandbox.
//!
//! Promise: it runs exactly the configured program, with the name of one of the store's files, and ends it; nothing else can
//! be asked of it, by whatever may become of the archiver. It has no descriptor but its socket and the log, does nothing
//! while it waits, and leaves with the archiver: a program that runs then is killed.
use crate::config::Config;
use crate::ipc::control::{Channel, Message, Received};
use crate::store::manifest::Seal;
use crate::store::names::{Form, SegmentName};
use crate::sys::poll::{Interest, Poller};
use crate::sys::process::{self, Ending, Pid};
use crate::sys::signals::{Signals, ignore, reset};
use crate::sys::{OwnedFd, RawFd, fdpass, program, title};
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use std::ffi::{OsStr, OsString};
use std::io;

/// The archiver's end of the way to it.
pub(super) type ToHook = Channel<Ask, Word>;

/// A file to run the program with, and what is told of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Job {
    /// Its name in the store.
    file: String,
    records: u64,
    bytes: u64,
    lowest: String,
    highest: String,
    blake3: String,
}

/// Archiver → runner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// Run the program with this.
    Run(Job),
    /// Its time is up: `TERM` to its group, and `KILL` to what is left of that when it has ended.
    End,
    /// `KILL` to its group.
    Kill,
    /// The archiver leaves: `TERM` to its group.
    Leave,
}

/// Runner → archiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// The program has ended.
    Ended(Ending),
    /// It could not be started.
    NotRun(String),
}

impl Job {
    /// For a sealed file.
    pub fn new(name: &SegmentName, form: Form, seal: &Seal) -> Self {
        Self {
            file: form.of(&name.build()),
            records: seal.records,
            bytes: seal.bytes,
            lowest: seal.lowest.clone().unwrap_or_default(),
            highest: seal.highest.clone().unwrap_or_default(),
            blake3: seal.blake3.clone(),
        }
    }

    /// The segment's name, if all of this is what an archiver of ours asks for.
    fn checked(&self, prefix: &str) -> Option<String> {
        let (name, _) = Form::parse(&self.file).filter(|(name, _)| name.prefix == prefix)?;
        let time = |text: &str| {
            text.len() <= 40
                && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'T' | b'Z' | b'-' | b'+' | b':' | b'.'))
        };
        let hash = self.blake3.len() == 64 && self.blake3.bytes().all(|byte| byte.is_ascii_hexdigit());
        (hash && time(&self.lowest) && time(&self.highest)).then(|| name.build())
    }
}

/// Forks it. This process must have one thread, and not be shut in yet.
pub(super) fn fork(config: &Config) -> io::Result<ToHook> {
    let (ours, theirs) = fdpass::pair()?;
    process::fork_role(&[std::os::fd::AsRawFd::as_raw_fd(&theirs)], |child| {
        title::set("echostored: hook runner");
        let runner = Runner::new(Channel::new(child.adopt(&theirs)), config);
        match runner.and_then(Runner::serve) {
            Ok(()) => crate::exit::OK,
            Err(error) => {
                crate::error!(ROLE_FAILED, "the hook runner cannot go on: {error}");
                crate::exit::FAILED
            }
        }
    })?;
    Ok(Channel::new(ours))
}

const ASKED: u64 = 0;
const SIGNALS: u64 = 1;

struct Running {
    pid: Pid,
    /// What is left of its group goes with it.
    clear: bool,
}

struct Runner<'a> {
    config: &'a Config,
    channel: Channel<Word, Ask>,
    signals: Signals,
    poller: Poller,
    running: Option<Running>,
}

impl<'a> Runner<'a> {
    fn new(channel: Channel<Word, Ask>, config: &'a Config) -> io::Result<Self> {
        reset(&[Signal::SIGTERM, Signal::SIGCHLD])?;
        ignore(&[Signal::SIGINT, Signal::SIGQUIT, Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGUSR2])?;
        let signals = Signals::new(&[Signal::SIGTERM, Signal::SIGCHLD])?;
        let poller = Poller::new(2)?;
        poller.add(&channel, ASKED, Interest::Input)?;
        poller.add(&signals, SIGNALS, Interest::Input)?;
        Ok(Self { config, channel, signals, poller, running: None })
    }

    fn serve(mut self) -> io::Result<()> {
        let mut events = Vec::new();
        loop {
            self.poller.wait(None, &mut events)?;
            self.channel.flush();
            // `TERM` comes when the archiver dies, which the channel's end tells too.
            while self.signals.next()?.is_some() {}
            self.reap()?;
            loop {
                match self.channel.receive()? {
                    Received::Message(ask) => self.obey(ask),
                    Received::Nothing => break,
                    Received::End => return Ok(()),
                }
            }
        }
    }

    fn obey(&mut self, ask: Ask) {
        match (ask, &mut self.running) {
            (Ask::Run(job), None) => match self.start(&job) {
                Ok(pid) => self.running = Some(Running { pid, clear: false }),
                Err(error) => self.channel.send(Word::NotRun(error.to_string())),
            },
            (Ask::End, Some(running)) => {
                running.clear = true;
                let _ = program::signal_group(running.pid, Signal::SIGTERM);
            }
            (Ask::Leave, Some(running)) => drop(program::signal_group(running.pid, Signal::SIGTERM)),
            (Ask::Kill, Some(running)) => drop(program::signal_group(running.pid, Signal::SIGKILL)),
            // One at a time; and one that has just ended needs no more.
            (Ask::Run(_), Some(_)) | (_, None) => {}
        }
    }

    fn start(&self, job: &Job) -> io::Result<Pid> {
        let (store, rotate) = (&self.config.store, &self.config.rotate);
        let invalid = || io::Error::other("what the archiver asks for is no file of the store");
        let segment = job.checked(&store.prefix).ok_or_else(invalid)?;
        let (program, arguments) = rotate.on_close.split_first().ok_or_else(invalid)?;
        let path = store.directory.join(&job.file);
        let number = Form::parse(&job.file).map_or(0, |(name, _)| name.sequence);
        let mut arguments: Vec<OsString> = arguments.iter().map(Into::into).collect();
        arguments.push(path.clone().into());
        let numbers = [number, job.records, job.bytes].map(|number| number.to_string());
        let variables: [(&str, &OsStr); 9] = [
            ("ECHOSTORED_FILE", path.as_ref()),
            ("ECHOSTORED_SEGMENT", segment.as_ref()),
            ("ECHOSTORED_SEQUENCE", numbers[0].as_ref()),
            ("ECHOSTORED_RECORDS", numbers[1].as_ref()),
            ("ECHOSTORED_BYTES", numbers[2].as_ref()),
            ("ECHOSTORED_LOWEST", job.lowest.as_ref()),
            ("ECHOSTORED_HIGHEST", job.highest.as_ref()),
            ("ECHOSTORED_BLAKE3", job.blake3.as_ref()),
            ("ECHOSTORED_STORE", store.directory.as_ref()),
        ];
        program::start(program, &arguments, &variables)
    }

    /// What is left of a group whose time was up goes with its leader: before that is reaped, while its number is nobody
    /// else's. A leader that lives has its grace.
    fn reap(&mut self) -> io::Result<()> {
        if let Some(running) = self.running.as_ref().filter(|running| running.clear)
            && process::state(running.pid) == Some('Z')
        {
            let _ = program::signal_group(running.pid, Signal::SIGKILL);
        }
        while let Some((pid, ending)) = process::reap()? {
            if self.running.take_if(|running| running.pid == pid).is_some() {
                self.channel.send(Word::Ended(ending));
            }
        }
        Ok(())
    }
}

impl Message for Ask {
    fn encode(&self) -> (Vec<u8>, Vec<RawFd>) {
        let bytes = match self {
            Self::Run(job) => [&[0][..], &serde_json::to_vec(job).unwrap_or_default()].concat(),
            Self::End => vec![1],
            Self::Kill => vec![2],
            Self::Leave => vec![3],
        };
        (bytes, vec![])
    }

    fn decode(bytes: &[u8], _: Vec<OwnedFd>) -> Option<Self> {
        match bytes.split_first()? {
            (0, job) => Some(Self::Run(serde_json::from_slice(job).ok()?)),
            (1, []) => Some(Self::End),
            (2, []) => Some(Self::Kill),
            (3, []) => Some(Self::Leave),
            _ => None,
        }
    }
}

impl Message for Word {
    fn encode(&self) -> (Vec<u8>, Vec<RawFd>) {
        let bytes = match self {
            Self::Ended(Ending::Exit(code)) => vec![0, *code],
            Self::Ended(Ending::Signal(signal)) => vec![1, u8::try_from(*signal as i32).unwrap_or(0)],
            Self::NotRun(why) => [&[2][..], why.as_bytes().get(..500).unwrap_or(why.as_bytes())].concat(),
        };
        (bytes, vec![])
    }

    fn decode(bytes: &[u8], _: Vec<OwnedFd>) -> Option<Self> {
        match bytes.split_first()? {
            (0, [code]) => Some(Self::Ended(Ending::Exit(*code))),
            (1, [signal]) => Some(Self::Ended(Ending::Signal(Signal::try_from(i32::from(*signal)).ok()?))),
            (2, why) => Some(Self::NotRun(String::from_utf8_lossy(why).into_owned())),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(file: &str) -> Job {
        let time = "2026-01-02T03:04:05.678901Z".to_owned();
        Job { file: file.into(), records: 1, bytes: 2, lowest: time.clone(), highest: time, blake3: "0f".repeat(32) }
    }

    #[test]
    fn only_files_of_the_store_are_handed_on() {
        let name = SegmentName { prefix: "m".into(), sequence: 7, start: 0 }.build();
        for form in Form::ALL {
            assert_eq!(job(&form.of(&name)).checked("m"), Some(name.clone()));
        }
        let good = job(&name);
        assert_eq!(good.checked("other"), None);
        for file in ["", "current", "/etc/passwd", "../x", &format!("../{name}"), &format!("{name}/../../x"), "-rf"] {
            assert_eq!(job(file).checked("m"), None, "{file}");
        }
        assert_eq!(Job { lowest: "$(x)".into(), ..good.clone() }.checked("m"), None);
        assert_eq!(Job { highest: "2".repeat(41), ..good.clone() }.checked("m"), None);
        assert_eq!(Job { blake3: "x".into(), ..good }.checked("m"), None);
    }

    #[test]
    fn messages_come_back() {
        let name = SegmentName { prefix: "p".repeat(64), sequence: u64::MAX, start: 0 }.build();
        let longest = Job { records: u64::MAX, bytes: u64::MAX, ..job(&Form::Zstd.of(&name)) };
        for ask in [Ask::Run(longest), Ask::End, Ask::Kill, Ask::Leave] {
            let (bytes, _) = ask.encode();
            assert!(bytes.len() < 1024);
            assert_eq!(Ask::decode(&bytes, vec![]), Some(ask));
        }
        let words = [Ending::Exit(3), Ending::Signal(Signal::SIGKILL)].map(Word::Ended);
        for word in words.into_iter().chain([Word::NotRun("no such file".into())]) {
            assert_eq!(Word::decode(&word.encode().0, vec![]), Some(word));
        }
        assert_eq!((Ask::decode(&[9], vec![]), Word::decode(&[0], vec![])), (None, None));
        assert_eq!(Ask::decode(b"\0{}", vec![]), None);
    }
}
