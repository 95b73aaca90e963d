//! What is there: the closed segments with their files, and what else takes room in the store.
//!
//! Found by looking. A look at a directory of 100,000 files takes a while: only names that are new are examined, and the
//! next look comes no sooner than ten times as long as the last one took.
use crate::store::manifest::MANIFEST;
use crate::store::names::{CURRENT, Form, SegmentName, TORN_SUFFIX};
use crate::store::segment;
use crate::sys::file;
use crate::sys::{AsFd, BorrowedFd, OwnedFd};
use nix::libc::{S_IFMT, S_IFREG};
use nix::sys::stat::FileStat;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::{Duration, Instant};

/// Of the time, looking takes one part of so many.
const SHARE: u32 = 10;

/// Device and inode.
pub(super) type FileId = (u64, u64);

/// A closed segment's files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Item {
    /// Bytes of the file in each form, in the order of [`Form::ALL`].
    sizes: [Option<u64>; 3],
    /// Bytes of the `.torn` beside it.
    torn: u64,
    /// When the file that counts was last written: µs since 1970.
    pub mtime: i64,
    /// The file that counts.
    pub id: FileId,
}

fn place(form: Form) -> usize {
    Form::ALL.iter().position(|other| *other == form).unwrap_or(0)
}

impl Item {
    /// Whether it is there in this form.
    pub fn has(&self, form: Form) -> bool {
        self.sizes[place(form)].is_some()
    }

    /// The form that counts.
    pub fn form(&self) -> Option<Form> {
        Form::ALL.into_iter().find(|form| self.has(*form))
    }

    /// Bytes of all its files.
    pub fn bytes(&self) -> u64 {
        self.sizes.iter().flatten().sum::<u64>() + self.torn
    }

    /// Forms beside the one that counts.
    pub fn twins(&self) -> impl Iterator<Item = Form> {
        let counts = self.form();
        Form::ALL.into_iter().filter(move |form| self.has(*form) && counts != Some(*form))
    }
}

/// A segment that is live, or closed and not settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Open {
    /// Its name.
    pub name: SegmentName,
    id: FileId,
    bytes: u64,
}

/// What a look has found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Segments that are new here, or whose files are others.
    pub came: Vec<SegmentName>,
    /// Segments that are away.
    pub left: Vec<SegmentName>,
    /// Files with the name of a segment whose number another one has, or that are no regular files; the first time only.
    pub foreign: Vec<String>,
}

/// The shelf.
#[derive(Debug)]
pub(super) struct Shelf {
    /// The store's directory.
    pub directory: OwnedFd,
    /// Closed and settled segments.
    items: BTreeMap<SegmentName, Item>,
    /// The others.
    pub open: Vec<Open>,
    others: BTreeMap<String, u64>,
    foreign: BTreeSet<String>,
    /// Bytes of all items.
    bytes: u64,
    /// What `current` is.
    current: Option<FileId>,
    /// Segments with lower numbers are settled.
    settled: Option<u64>,
    looked: Option<Look>,
    /// Something says that there is news.
    stale: bool,
}

#[derive(Clone, Copy, Debug)]
struct Look {
    /// Not again before.
    next: Instant,
    /// The directory's time of change before the look.
    changed: (i64, i64),
}

impl Shelf {
    /// An empty one: nothing was looked at.
    pub fn new(directory: OwnedFd) -> Self {
        Self {
            directory,
            items: BTreeMap::new(),
            open: Vec::new(),
            others: BTreeMap::new(),
            foreign: BTreeSet::new(),
            bytes: 0,
            current: None,
            settled: None,
            looked: None,
            stale: true,
        }
    }

    /// The directory.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// Segments below this number are settled.
    pub fn settle(&mut self, below: u64) {
        self.stale |= self.settled != Some(below);
        self.settled = self.settled.max(Some(below));
    }

    /// Whether anything may be touched.
    pub fn is_settled(&self) -> bool {
        self.settled.is_some()
    }

    /// Whether it was looked at.
    pub fn was_looked_at(&self) -> bool {
        self.looked.is_some()
    }

    /// A closed segment.
    pub fn get(&self, name: &SegmentName) -> Option<&Item> {
        self.items.get(name)
    }

    /// All closed segments, the oldest first.
    pub fn items(&self) -> impl DoubleEndedIterator<Item = (&SegmentName, &Item)> + Clone {
        self.items.iter()
    }

    /// Those from this number on.
    pub fn items_from(&self, sequence: u64) -> impl Iterator<Item = (&SegmentName, &Item)> {
        self.items.range(first_of(sequence)..)
    }

    /// The one of this number.
    pub fn of_number(&self, sequence: u64) -> Option<&SegmentName> {
        self.items_from(sequence).next().map(|(name, _)| name).filter(|name| name.sequence == sequence)
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.items.len() as u64
    }

    /// Bytes of their files.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether it is the live file: that is never touched, whatever else is said.
    pub fn is_live(&self, name: &SegmentName) -> bool {
        self.items.get(name).is_none_or(|item| self.current == Some(item.id))
    }

    /// Whether a segment of this number is there, closed or not.
    pub fn has_number(&self, sequence: u64) -> bool {
        self.of_number(sequence).is_some() || self.open.iter().any(|open| open.name.sequence == sequence)
    }

    /// Closed segments that are not settled yet: they count, and stay.
    pub fn unsettled(&self) -> u64 {
        let live = self.open.iter().find(|open| self.current == Some(open.id)).map(|open| open.name.sequence);
        let live = live.or_else(|| self.open.iter().map(|open| open.name.sequence).max());
        self.open.iter().filter(|open| live.is_some_and(|live| open.name.sequence < live)).count() as u64
    }

    /// Bytes of everything in the store but the closed segments. Files that grow are looked at again.
    pub fn other_bytes(&mut self) -> u64 {
        let directory = self.directory.as_fd();
        for open in &mut self.open {
            if let Ok(stat) = file::stat_at(directory, &open.name.build()) {
                open.bytes = size(&stat);
            }
        }
        self.open.iter().map(|open| open.bytes).sum::<u64>() + self.others.values().sum::<u64>()
    }

    /// Notes a file of the archiver's own, so that it counts; 0: it is away.
    pub fn note_other(&mut self, name: &str, bytes: u64) {
        if bytes == 0 {
            self.others.remove(name);
        } else {
            self.others.insert(name.to_owned(), bytes);
        }
    }

    /// Whether it is time to look again: there is news, or may be. Asks the directory for its time of change.
    pub fn is_due(&self, now: Instant) -> bool {
        let Some(look) = self.looked else { return true };
        now >= look.next && (self.stale || self.changed().is_ok_and(|changed| changed != look.changed))
    }

    /// When it may be looked at again, if there is news.
    pub fn next_look(&self) -> Option<Instant> {
        self.looked.filter(|_| self.stale).map(|look| look.next)
    }

    fn changed(&self) -> io::Result<(i64, i64)> {
        file::stat(&self.directory).map(|stat| (stat.st_mtime, stat.st_mtime_nsec))
    }

    /// Looks at the directory. `knows`: whether this segment is known by that very name from before.
    pub fn look(&mut self, knows: impl Fn(&SegmentName) -> bool) -> io::Result<Found> {
        let begin = Instant::now();
        // Before the names: what changes meanwhile is seen the next time.
        let changed = self.changed()?;
        self.current = file::stat_at(self.fd(), CURRENT).ok().map(|stat| id(&stat));
        let (names, others) = segment::list_with_others(self.fd())?;
        let mut found = Found::default();
        let known = std::mem::take(&mut self.items);
        let settled = self.settled.unwrap_or(0);
        (self.bytes, self.open) = (0, Vec::new());
        let mut rest = &names[..];
        while let Some((first, _)) = rest.first() {
            let number = first.sequence;
            let count = rest.iter().take_while(|(name, _)| name.sequence == number).count();
            let (same, after) = rest.split_at(count);
            rest = after;
            let alone = same.iter().all(|(name, _)| name == first);
            for group in same.chunk_by(|a, b| a.0 == b.0) {
                let name = &group[0].0;
                if !alone && !known.contains_key(name) && !knows(name) {
                    self.note_foreign(name, group[0].1, &mut found);
                } else {
                    self.put(name, group, known.get(name), number < settled, &mut found);
                }
            }
        }
        found.left = known.into_keys().filter(|name| !self.items.contains_key(name)).collect();
        self.take_others(&others);
        let took = begin.elapsed().max(Duration::from_millis(1));
        self.looked = Some(Look { next: Instant::now() + took * SHARE, changed });
        self.stale = false;
        Ok(found)
    }

    fn note_foreign(&mut self, name: &SegmentName, form: Form, found: &mut Found) {
        let file = form.of(&name.build());
        if self.foreign.insert(file.clone()) {
            found.foreign.push(file);
        }
    }

    /// Takes in one segment with its forms.
    fn put(
        &mut self,
        name: &SegmentName,
        group: &[(SegmentName, Form)],
        known: Option<&Item>,
        settled: bool,
        found: &mut Found,
    ) {
        let same = known.filter(|item| Form::ALL.iter().all(|f| item.has(*f) == group.iter().any(|(_, g)| g == f)));
        if let Some(item) = same.filter(|item| self.current != Some(item.id)) {
            self.insert(name.clone(), item.clone());
            return;
        }
        let forms = group.iter().map(|(_, form)| *form);
        match self.examine(name, forms) {
            Err(form) => self.note_foreign(name, form, found),
            Ok(item) if item.form().is_none() => {}
            Ok(item) if !settled || self.current == Some(item.id) => {
                self.open.push(Open { name: name.clone(), id: item.id, bytes: item.bytes() });
            }
            Ok(item) => {
                if known != Some(&item) {
                    found.came.push(name.clone());
                }
                self.insert(name.clone(), item);
            }
        }
    }

    fn insert(&mut self, name: SegmentName, item: Item) {
        self.bytes += item.bytes();
        self.remove_bytes_of(&name);
        self.items.insert(name, item);
    }

    fn remove_bytes_of(&mut self, name: &SegmentName) {
        self.bytes -= self.items.get(name).map_or(0, Item::bytes);
    }

    /// The files of a segment; an error names one that is none.
    fn examine(&self, name: &SegmentName, forms: impl Iterator<Item = Form>) -> Result<Item, Form> {
        let (text, mut item) = (name.build(), Item::default());
        let mut forms: Vec<Form> = forms.collect();
        // The one that counts is the last one to be noted.
        forms.sort_by_key(|form| std::cmp::Reverse(place(*form)));
        for form in forms {
            let Ok(stat) = file::stat_at(self.fd(), &form.of(&text)) else { continue };
            if stat.st_mode & S_IFMT != S_IFREG {
                return Err(form);
            }
            item.sizes[place(form)] = Some(size(&stat));
            (item.id, item.mtime) = (id(&stat), stat.st_mtime.saturating_mul(1_000_000) + stat.st_mtime_nsec / 1000);
        }
        let torn = file::stat_at(self.fd(), &format!("{text}{TORN_SUFFIX}"));
        item.torn = torn.as_ref().map_or(0, size);
        Ok(item)
    }

    /// Looks at the files of one segment again, after work on it.
    pub fn refresh(&mut self, name: &SegmentName) {
        match self.examine(name, Form::ALL.into_iter()) {
            Ok(item) if item.form().is_some() => self.insert(name.clone(), item),
            _ => self.remove(name),
        }
    }

    /// Forgets a segment.
    pub fn remove(&mut self, name: &SegmentName) {
        self.remove_bytes_of(name);
        self.items.remove(name);
    }

    /// The store's own files beside the segments: what somebody else has put there is not to be paid for by deletions. What is
    /// beside a closed segment counts with it; `current` is the live file's second name.
    fn take_others(&mut self, names: &[String]) {
        let beside = |name: &str| {
            let segment = name.strip_suffix(TORN_SUFFIX).and_then(SegmentName::parse);
            segment.is_some_and(|segment| self.items.contains_key(&segment))
        };
        let own = |name: &str| {
            let torn = name.strip_suffix(TORN_SUFFIX).and_then(SegmentName::parse).is_some();
            name.starts_with('.') || name == MANIFEST || torn || Form::parse(name).is_some()
        };
        let counts = names.iter().filter(|name| *name != CURRENT && own(name) && !beside(name));
        let sizes = counts.filter_map(|name| {
            let stat = file::stat_at(self.fd(), name).ok()?;
            (stat.st_mode & S_IFMT == S_IFREG && stat.st_nlink == 1).then(|| (name.clone(), size(&stat)))
        });
        self.others = sizes.collect();
    }
}

/// Before all names of this number.
fn first_of(sequence: u64) -> SegmentName {
    SegmentName { prefix: String::new(), sequence, start: i64::MIN }
}

fn size(stat: &FileStat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

/// Device and inode of a file.
pub(super) fn id(stat: &FileStat) -> FileId {
    (stat.st_dev, stat.st_ino)
}
