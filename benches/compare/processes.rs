//! What the processes of a server cost: processor time and memory, as `/proc` tells.
use nix::unistd::{SysconfVar, sysconf};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs;

/// One line of `/proc/PID/stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    parent: i32,
    /// User and system time, with that of the children that were waited for.
    ticks: u64,
}

/// proc(5): the command may hold spaces and brackets; the fields behind its last bracket do not.
fn stat(text: &str) -> Option<Stat> {
    let fields: Vec<&str> = text[text.rfind(')')? + 1..].split_ascii_whitespace().collect();
    let ticks = fields.get(11..15)?.iter().map(|field| field.parse::<u64>());
    Some(Stat { parent: fields.get(1)?.parse().ok()?, ticks: ticks.sum::<Result<u64, _>>().ok()? })
}

/// `root` and everything below it, the dead that nobody has waited for too.
fn family(root: i32) -> BTreeMap<i32, Stat> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let all: BTreeMap<i32, Stat> =
        pids.filter_map(|pid| Some((pid, stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?))).collect();
    let mut found: BTreeMap<i32, Stat> =
        all.get_key_value(&root).map(|(pid, stat)| (*pid, *stat)).into_iter().collect();
    loop {
        let below = all.iter().filter(|(pid, stat)| !found.contains_key(pid) && found.contains_key(&stat.parent));
        let below: Vec<(i32, Stat)> = below.map(|(pid, stat)| (*pid, *stat)).collect();
        if below.is_empty() {
            return found;
        }
        found.extend(below);
    }
}

/// Seconds of processor time (user and system) that `root` and all its descendants have used so far, to the hundredth.
pub fn cpu_seconds(root: i32) -> f64 {
    let ticks: u64 = family(root).values().map(|stat| stat.ticks).sum();
    let per_second = sysconf(SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100);
    ticks as f64 / per_second as f64
}

/// The process below `root` with this title.
pub fn titled(root: i32, title: &str) -> Option<i32> {
    let has = |pid: &i32| {
        let shown = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&shown).trim_end_matches('\0') == title
    };
    family(root).into_keys().find(has)
}

/// User memory in KiB; that of the kernel (sockets' buffers, page tables, page cache) is not in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Memory {
    /// Each page shared by n processes counts as an n-th (proc(5), `Pss`).
    pub pss: u64,
    /// What nobody shares.
    pub private: u64,
}

fn rollup(text: &str) -> Memory {
    let mut memory = Memory::default();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let (name, value) = (words.next(), words.next().and_then(|value| value.parse().ok()).unwrap_or(0));
        match name {
            Some("Pss:") => memory.pss += value,
            Some("Private_Clean:" | "Private_Dirty:") => memory.private += value,
            _ => {}
        }
    }
    memory
}

/// The user memory of `root` and all its descendants.
pub fn memory(root: i32) -> Memory {
    let texts = family(root).into_keys().filter_map(|pid| fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok());
    texts
        .map(|text| rollup(&text))
        .fold(Memory::default(), |sum, one| Memory { pss: sum.pss + one.pss, private: sum.private + one.private })
}

#[cfg(test)]
#[allow(dead_code, unused_imports, reason = "run by tests/benches.rs; a program without a harness only compiles them")]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_stat_is_read_behind_its_last_bracket() {
        let line = "12 (a (b) c) S 7 12 12 0 -1 4194560 100 200 0 0 11 22 33 44 20 0 1 0 5 6 7";
        assert_eq!(stat(line), Some(Stat { parent: 7, ticks: 110 }));
        assert_eq!(stat("12 (a) S 7"), None);
        assert_eq!(stat(""), None);
    }

    #[test]
    fn private_memory_is_clean_and_dirty() {
        let text = "00-ff ---p 00000000 00:00 0 [rollup]\nRss: 900 kB\nPss: 500 kB\nPss_Dirty: 1 kB\nPrivate_Clean: 20 kB\nPrivate_Dirty: 300 kB\n";
        assert_eq!(rollup(text), Memory { pss: 500, private: 320 });
    }

    #[test]
    fn this_process_is_of_its_own_family() {
        let own = std::process::id().cast_signed();
        assert!(family(own).contains_key(&own));
        assert!(memory(own).pss > 0);
        assert_eq!(titled(own, "no such title"), None);
    }
}
