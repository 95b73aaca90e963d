//! What outlives the model's writer: pipes, staging areas, the commit record, the disk, the supervisor's knowledge.
use super::chance::Chance;
use super::client::{self, LARGEST_FRAME, LARGEST_RECORD, Worker};
use super::disk::{Disk, File};
use super::rules::Rules;
use crate::config::Echo;
use crate::ipc::commit::CommitRecord;
use crate::ipc::link::Terms;
use crate::protocol::ack::{self, Ack};

/// A place between two elementary deeds of the writer, where it may be killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Site {
    Born,
    TornCopied,
    TornCut,
    Recovered,
    Inherited,
    Reborn,
    Looked,
    StalePart,
    Stale,
    Intended,
    Staged,
    WrittenPart,
    Written,
    Synced,
    Failed,
    Committed,
    ConsumedPart,
    Consumed,
    BeforeAck,
    Acked,
    Suspected,
    Doubted,
    Created,
    Filled,
    Noted,
    Named,
    NewSynced,
    Linked,
    Swapped,
    Cut,
    Forgotten,
    PublishIntended,
    Published,
    Settled,
    DrainTold,
    Idle,
}

pub const SITES: usize = Site::Idle as usize + 1;

/// Why the writer does not go on.
#[derive(Debug)]
pub enum Halt {
    Killed,
    /// What must never be.
    Violation(String),
}

pub type Deed<T> = Result<T, Halt>;

pub fn violation<T>(why: impl Into<String>) -> Deed<T> {
    Err(Halt::Violation(why.into()))
}

#[derive(Debug)]
pub struct Link {
    pub terms: Terms,
    pub data: Vec<u8>,
    pub acks: Vec<u8>,
    pub staging: Vec<u8>,
    /// Its worker is dead.
    pub hung_up: bool,
    /// The supervisor has given it up.
    pub gone: bool,
    /// The writer was not yet told of news.
    pub edge: bool,
    /// The ack pipe has room again, and the writer was not yet told.
    pub room: bool,
}

impl Link {
    /// Whether no frame is left in it. The last bytes of a stale one stay as long as they may be the next one's first.
    pub fn is_empty(&self) -> bool {
        self.terms.secret.to_le_bytes().starts_with(&self.data)
    }
}

/// What one history, or many, have seen.
#[derive(Clone, Debug)]
pub struct Tally {
    pub histories: u64,
    pub steps: u64,
    pub kills: [u64; SITES],
    pub workers_killed: u64,
    pub all_killed: u64,
    pub power_cuts: u64,
    pub rotations: u64,
    pub rescues: u64,
    pub replays: u64,
    pub adopted: u64,
    pub left: u64,
    pub faults: u64,
    pub acked: u64,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            histories: 0,
            steps: 0,
            kills: [0; SITES],
            workers_killed: 0,
            all_killed: 0,
            power_cuts: 0,
            rotations: 0,
            rescues: 0,
            replays: 0,
            adopted: 0,
            left: 0,
            faults: 0,
            acked: 0,
        }
    }
}

impl Tally {
    pub fn add(&mut self, other: &Self) {
        self.histories += other.histories;
        self.steps += other.steps;
        self.kills.iter_mut().zip(other.kills).for_each(|(sum, more)| *sum += more);
        self.workers_killed += other.workers_killed;
        self.all_killed += other.all_killed;
        self.power_cuts += other.power_cuts;
        self.rotations += other.rotations;
        self.rescues += other.rescues;
        self.replays += other.replays;
        self.adopted += other.adopted;
        self.left += other.left;
        self.faults += other.faults;
        self.acked += other.acked;
    }

    pub fn writer_kills(&self) -> u64 {
        self.kills.iter().sum()
    }
}

pub struct World<'a> {
    pub rules: &'a dyn Rules,
    pub record: &'a CommitRecord,
    pub chance: Chance,
    pub echo: Echo,
    pub limit: Option<u64>,
    /// Room in a data pipe; bytes of one look; acks in an ack pipe.
    pub sizes: (usize, usize, usize),
    pub links: Vec<Link>,
    pub workers: Vec<Worker>,
    pub disk: Disk,
    /// Segments of which the supervisor keeps a description.
    pub kept: Vec<u64>,
    pub kills_left: usize,
    pub kill_one_in: usize,
    pub tally: Tally,
    /// What happened, if it shall be told.
    pub log: Option<Vec<String>>,
}

impl World<'_> {
    pub fn note(&mut self, what: impl FnOnce() -> String) {
        if let Some(log) = &mut self.log {
            log.push(what());
        }
    }

    /// The writer comes by `site`.
    pub fn step(&mut self, site: Site) -> Deed<()> {
        self.tally.steps += 1;
        self.note(|| format!("  {site:?}"));
        if self.kills_left > 0 && self.chance.one_in(self.kill_one_in) {
            self.kills_left -= 1;
            self.tally.kills[site as usize] += 1;
            self.note(|| "  the writer is killed".to_owned());
            return Err(Halt::Killed);
        }
        Ok(())
    }

    pub fn add_worker(&mut self) {
        let Ok(serial) = u8::try_from(self.workers.len()) else { return };
        if serial >= 26 {
            return;
        }
        let (id, secret) = (self.links.len() as u64 + 1, self.chance.next());
        let terms = Terms { id, secret, frame_limit: LARGEST_FRAME, record_limit: LARGEST_RECORD };
        let (data, acks, staging) = (Vec::new(), Vec::new(), Vec::new());
        let link = Link { terms, data, acks, staging, hung_up: false, gone: false, edge: true, room: false };
        self.workers.push(Worker::new(serial, self.links.len()));
        self.links.push(link);
    }

    /// A worker makes frames and pushes what the pipe takes, or at most `most` bytes.
    pub fn send(&mut self, worker: usize, new: bool, most: usize) {
        let capacity = self.sizes.0;
        let worker = &mut self.workers[worker];
        if !worker.alive {
            return;
        }
        let link = &mut self.links[worker.link];
        if new {
            worker.produce(&link.terms, &mut self.chance);
        }
        let room = (capacity - link.data.len()).min(most);
        link.edge |= worker.push(&mut link.data, room);
    }

    /// A worker reads its acks, which must be true.
    pub fn read_acks(&mut self, worker: usize) -> Deed<()> {
        let worker = &mut self.workers[worker];
        if !worker.alive || self.links[worker.link].acks.is_empty() {
            return Ok(());
        }
        let link = &mut self.links[worker.link];
        let Some(Ack::Safe(through)) = ack::decode(&link.acks).last() else { return violation("an ack that is none") };
        link.acks.clear();
        link.room = true;
        let Some(new) = worker.acknowledged(through) else {
            return violation("an ack for a frame that was never sent");
        };
        let (serial, echo) = (worker.serial, self.echo);
        self.note(|| format!("{} hears that frame {through} is safe", char::from(b'A' + serial)));
        self.tally.acked += u64::from(new.count_ones());
        for number in (0..client::MOST_RECORDS).filter(|number| new & (1 << number) != 0) {
            let bytes = client::record(serial, number);
            let holds = |part: &[u8]| memchr::memmem::find(part, &bytes).is_some();
            let safe = match echo {
                Echo::Synced => self.disk.durable_parts(false).any(holds) && self.disk.durable_parts(true).any(holds),
                _ => self.disk.files.iter().any(|file| holds(self.part(file))),
            };
            if !safe {
                return violation(format!("I1: {:?} is acknowledged and not safe", bytes.escape_ascii().to_string()));
            }
        }
        Ok(())
    }

    /// A worker dies, perhaps in the middle of a frame: the bytes that it did not push are gone.
    pub fn kill_worker(&mut self, worker: usize) {
        let worker = &mut self.workers[worker];
        if !worker.alive {
            return;
        }
        worker.alive = false;
        worker.outgoing.clear();
        let link = &mut self.links[worker.link];
        (link.hung_up, link.edge) = (true, true);
        self.tally.workers_killed += 1;
        self.add_worker();
    }

    /// Everything is killed, and perhaps the power fails: pipes and commit record are gone.
    pub fn kill_all(&mut self, power: bool) {
        if power {
            self.disk.lose_power(&mut self.chance);
            self.tally.power_cuts += 1;
        } else {
            self.tally.all_killed += 1;
        }
        self.links.clear();
        self.kept.clear();
        self.record.reset();
        let (echo, held) = (self.echo, self.held());
        let mut living = 0;
        for worker in &mut self.workers {
            living += usize::from(worker.alive);
            worker.alive = false;
            // What had not been synced may be lost with the power.
            if power && echo != Echo::Synced {
                worker.owed &= held[usize::from(worker.serial)];
            }
            worker.link = usize::MAX;
        }
        for _ in 0..living {
            self.add_worker();
        }
    }

    /// Cuts a segment: nothing acknowledged may be cut off.
    pub fn cut(&mut self, sequence: u64, length: usize) -> Deed<()> {
        let file = self.disk.file(sequence);
        for (serial, number) in
            file.bytes[length..].split_inclusive(|byte| *byte == b'\n').filter_map(client::recognize)
        {
            if self.workers[usize::from(serial)].owed & (1 << number) != 0 {
                return violation("I1: an acknowledged record is cut off");
            }
        }
        self.disk.cut(sequence, length);
        Ok(())
    }

    /// The part of a file that is part of the store.
    fn part<'a>(&self, file: &'a File) -> &'a [u8] {
        &file.bytes[..self.disk.counting(file.sequence, file.bytes.len())]
    }

    /// Which records are in the store, by worker.
    fn held(&self) -> [u64; 26] {
        let mut held = [0; 26];
        let lines = self.disk.files.iter().flat_map(|file| self.part(file).split_inclusive(|byte| *byte == b'\n'));
        for (serial, number) in lines.filter_map(client::recognize) {
            held[usize::from(serial)] |= 1 << number;
        }
        held
    }

    /// The oracle at the end, when nothing is under way.
    pub fn examine(&self) -> Deed<()> {
        let mut seen = [0u64; 26];
        let mut foreign = 0;
        for file in &self.disk.files {
            for line in self.part(file).split_inclusive(|byte| *byte == b'\n') {
                let text = || format!("{:?} in segment {}", line.escape_ascii().to_string(), file.sequence);
                let Some((serial, number)) = client::recognize(line) else {
                    if line == FOREIGN {
                        foreign += 1;
                        continue;
                    }
                    // A power cut may leave holes in what no sync has confirmed, and recovery looks at ends only.
                    if self.tally.power_cuts > 0 && line.contains(&0) && self.echo != Echo::Synced {
                        continue;
                    }
                    return violation(format!("{} is no record", text()));
                };
                let before = &mut seen[usize::from(serial)];
                if *before & (1 << number) != 0 {
                    return violation(format!("I2: {} is there twice", text()));
                }
                if *before >> number != 0 {
                    return violation(format!("I3: {} comes too late", text()));
                }
                *before |= 1 << number;
            }
        }
        for worker in &self.workers {
            let seen = seen[usize::from(worker.serial)];
            let mut due = worker.owed;
            if let Some(link) = self.links.get(worker.link) {
                due |= worker.sent();
                if !link.gone && !link.is_empty() {
                    return violation(format!("{} bytes are left in a pipe", link.data.len()));
                }
            }
            if due & !seen != 0 {
                return violation(format!("I1: records {:b} of {} are lost", due & !seen, worker.serial));
            }
        }
        if foreign != self.disk.files.iter().filter(|file| file.foreign).count() {
            return violation("somebody else's records were changed");
        }
        Ok(())
    }
}

/// What a file that is not ours holds.
pub const FOREIGN: &[u8] = b"somebody else's\n";
