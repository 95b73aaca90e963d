//! The model's disk: files with their pages and what of them is durable.
//!
//! What it assumes of a file system: changes of names and lengths become durable in their order, at the latest with the
//! next sync of anything that succeeds (as the journals of ext4 and xfs do). Written bytes may reach the disk earlier.
use super::chance::Chance;

/// What the kernel answers to a write or sync that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    NoSpace,
    Input,
}

impl Failure {
    pub fn errno(self) -> i32 {
        match self {
            Self::NoSpace => nix::libc::ENOSPC,
            Self::Input => nix::libc::EIO,
        }
    }
}

#[derive(Debug, Default)]
pub struct File {
    pub sequence: u64,
    /// What a reader sees.
    pub bytes: Vec<u8>,
    /// What is left after a power cut; 0 where the kernel dropped a page that it could not write.
    pub durable: Vec<u8>,
    /// From here on a sync has to write.
    dirty_from: usize,
    /// Its name survives a power cut.
    pub named: bool,
    /// Where it was cut, as long as that is not durable.
    cut: Option<usize>,
    /// Somebody else's.
    pub foreign: bool,
}

/// A line of the manifest: what follows byte `good_to` of `segment` is in the segment `moved_to`, once that is there.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    pub segment: u64,
    pub good_to: u64,
    pub moved_to: Option<u64>,
}

/// The store's directory.
#[derive(Debug, Default)]
pub struct Disk {
    /// In the order of their sequence numbers.
    pub files: Vec<File>,
    /// The last word on each segment that failed.
    pub manifest: Vec<Entry>,
    /// The sequence number of the file that `current` leads to.
    pub current: Option<u64>,
    pub full: bool,
    /// The next write fails with an input/output error, behind a part of its bytes.
    pub next_write_fails: bool,
    pub next_sync_fails: bool,
    /// The next swap fails; the rename may have happened all the same.
    pub next_swap_fails: bool,
}

impl Disk {
    pub fn file(&mut self, sequence: u64) -> &mut File {
        let at = self.files.iter().position(|file| file.sequence == sequence);
        &mut self.files[at.expect("no file vanishes while it is used")]
    }

    pub fn exists(&self, sequence: u64) -> bool {
        self.files.iter().any(|file| file.sequence == sequence)
    }

    /// Replaces the manifest, durably.
    pub fn note(&mut self, entries: &[Entry]) -> Result<(), Failure> {
        if self.full {
            return Err(Failure::NoSpace);
        }
        for entry in entries {
            match self.manifest.iter_mut().find(|known| known.segment == entry.segment) {
                Some(known) => *known = *entry,
                None => self.manifest.push(*entry),
            }
        }
        Ok(())
    }

    /// Where a segment's end was moved, if it was.
    pub fn moved_to(&self, sequence: u64) -> Option<u64> {
        let entry = self.manifest.iter().find(|entry| entry.segment == sequence)?;
        entry.moved_to.filter(|target| self.exists(*target))
    }

    /// Of `length` bytes of a segment, those that are part of the store.
    pub fn counting(&self, sequence: u64, length: usize) -> usize {
        let entry = self.manifest.iter().find(|entry| entry.segment == sequence);
        let moved = entry.filter(|entry| entry.moved_to.is_some_and(|target| self.exists(target)));
        moved.map_or(length, |entry| length.min(usize::try_from(entry.good_to).unwrap_or(usize::MAX)))
    }

    /// What of each file is sure to be part of the store after a power cut, in which the names that are not durable yet
    /// get lost or not.
    pub fn durable_parts(&self, names_lost: bool) -> impl Iterator<Item = &[u8]> {
        let left = move |file: &File| file.named || !names_lost;
        let is_there = move |target: u64| self.files.iter().any(|file| file.sequence == target && left(file));
        self.files.iter().filter(move |file| left(file)).map(move |file| {
            let entry = self.manifest.iter().find(|entry| entry.segment == file.sequence);
            let moved = entry.filter(|entry| entry.moved_to.is_some_and(is_there));
            let end = moved.map_or(usize::MAX, |entry| usize::try_from(entry.good_to).unwrap_or(usize::MAX));
            &file.durable[..end.min(file.durable.len())]
        })
    }

    /// Cuts what was moved, but of the segment that is current.
    pub fn cut_moved(&mut self) {
        for entry in self.manifest.clone() {
            if self.current == Some(entry.segment) || !self.exists(entry.segment) {
                continue;
            }
            let length = self.file(entry.segment).bytes.len();
            let counting = self.counting(entry.segment, length);
            if counting < length {
                self.cut(entry.segment, counting);
            }
        }
    }

    /// Gives a file that is synced a name, which is not durable yet.
    pub fn name(&mut self, sequence: u64, bytes: Vec<u8>) -> Result<(), Failure> {
        if self.full {
            return Err(Failure::NoSpace);
        }
        let (durable, dirty_from) = (bytes.clone(), bytes.len());
        self.files.push(File { sequence, bytes, durable, dirty_from, ..File::default() });
        Ok(())
    }

    /// Takes a segment back that was never live.
    pub fn discard(&mut self, sequence: u64) {
        if self.current != Some(sequence) {
            self.files.retain(|file| file.sequence != sequence);
        }
    }

    pub fn newest(&self) -> Option<&File> {
        self.files.last()
    }

    pub fn create(&mut self, foreign: bool) -> Result<u64, Failure> {
        if self.full && !foreign {
            return Err(Failure::NoSpace);
        }
        let sequence = self.newest().map_or(0, |file| file.sequence) + 1;
        self.files.push(File { sequence, foreign, ..File::default() });
        Ok(sequence)
    }

    /// Writes all, or on a fault a part.
    pub fn write(&mut self, sequence: u64, offset: usize, bytes: &[u8], chance: &mut Chance) -> Result<(), Failure> {
        let file = self.files.iter().find(|file| file.sequence == sequence);
        let grows = file.is_some_and(|file| offset + bytes.len() > file.bytes.len());
        let failure = match (std::mem::take(&mut self.next_write_fails), self.full && grows) {
            (true, _) => Some(Failure::Input),
            (_, true) => Some(Failure::NoSpace),
            _ => None,
        };
        let count = if failure.is_some() { chance.below(bytes.len() + 1) } else { bytes.len() };
        let file = self.file(sequence);
        if count > 0 {
            let end = offset + count;
            file.bytes.resize(file.bytes.len().max(end), 0);
            file.bytes[offset..end].copy_from_slice(&bytes[..count]);
            file.dirty_from = file.dirty_from.min(offset);
        }
        failure.map_or(Ok(()), Err)
    }

    /// `fdatasync`: after a failure the pages count as clean, and are not written by the next one.
    pub fn sync(&mut self, sequence: u64) -> Result<(), Failure> {
        let fails = std::mem::take(&mut self.next_sync_fails);
        let file = self.file(sequence);
        let from = file.dirty_from.min(file.bytes.len());
        file.dirty_from = file.bytes.len();
        file.durable.resize(file.bytes.len().max(file.durable.len()), 0);
        if fails {
            return Err(Failure::Input);
        }
        let end = file.bytes.len();
        file.durable[from..end].copy_from_slice(&file.bytes[from..end]);
        for file in &mut self.files {
            if let Some(cut) = file.cut.take() {
                file.durable.truncate(cut);
            }
        }
        Ok(())
    }

    pub fn sync_names(&mut self) {
        for file in &mut self.files {
            file.named = true;
        }
    }

    pub fn cut(&mut self, sequence: u64, length: usize) {
        let file = self.file(sequence);
        file.bytes.truncate(length);
        file.dirty_from = file.dirty_from.min(length);
        file.cut = Some(file.cut.map_or(length, |cut| cut.min(length)));
    }

    /// The power fails: what was not synced may be there, in part or not at all; lengths and names only in their order.
    pub fn lose_power(&mut self, chance: &mut Chance) {
        let journal_reached = chance.one_in(2);
        self.files.retain(|file| file.named || file.foreign || journal_reached);
        for file in &mut self.files {
            let mut left = std::mem::take(&mut file.durable);
            if journal_reached {
                left.truncate(file.cut.unwrap_or(usize::MAX));
                let reached = if chance.one_in(2) { file.bytes.len() } else { chance.below(file.bytes.len() + 1) };
                if reached > file.dirty_from {
                    left.resize(left.len().max(reached), 0);
                    left[file.dirty_from..reached].copy_from_slice(&file.bytes[file.dirty_from..reached]);
                }
            }
            file.bytes.clone_from(&left);
            file.dirty_from = left.len();
            (file.durable, file.cut, file.named) = (left, None, true);
        }
        self.current = self.current.filter(|current| self.files.iter().any(|file| file.sequence == *current));
    }
}
