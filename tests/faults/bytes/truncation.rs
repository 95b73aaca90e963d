//! A live file that ends anywhere: all whole records are kept, the torn one is aside, nothing else is touched.
use super::super::support::framing::Format;
use super::super::support::seed::{Chance, count, seed};
use super::{Killed, LENGTH, contents, in_parallel, record_ends, sample, tool};

/// The end of the last whole record within `cut` bytes.
fn whole_at(ends: &[usize], cut: usize) -> usize {
    ends.iter().rev().copied().find(|end| *end <= cut).unwrap_or(0)
}

fn every_offset(format: Format, length: usize) {
    let killed = Killed::new(format, length);
    let (bytes, ends) = (killed.bytes(), record_ends(format, killed.bytes()));
    assert!(bytes.len() >= length && ends.last() == Some(&bytes.len()), "{} bytes, not all records", bytes.len());
    let cuts: Vec<usize> = (0..=bytes.len()).collect();
    in_parallel(&killed, &cuts, |bench, &cut| {
        bench.check(&bytes[..cut], whole_at(&ends, cut), &format!("{format:?} cut at {cut}"));
    });
    println!("{format:?}: {} offsets, {} records", cuts.len(), ends.len());
}

#[test]
fn every_offset_of_64_kib_of_text() {
    every_offset(Format::Text, LENGTH);
}

#[test]
fn every_offset_of_8_kib_of_jsonl_and_raw() {
    every_offset(Format::Jsonl, LENGTH / 8);
    every_offset(Format::Raw, LENGTH / 8);
}

/// The real program starts on it, keeps and sets aside the same bytes, says so, and `verify` is content.
fn started_on(killed: &Killed, cut: usize, whole: usize) {
    let place = format!("{:?} cut at {cut}", killed.format);
    let mut daemon = killed.setup().start_in(killed.restore(&killed.bytes()[..cut]));
    let told = format!("{} bytes after byte {whole} of {}", cut - whole, killed.live);
    assert_eq!(daemon.log().contains(&told), cut > whole, "{place}: {}", daemon.log());
    daemon.stop();
    let now = contents(&daemon.store());
    assert!(now[&killed.live] == killed.bytes()[..whole], "{place}: the whole records are not as they were");
    let aside = now.get(&(killed.live.clone() + ".torn")).map_or(&[][..], Vec::as_slice);
    assert!(aside == &killed.bytes()[whole..cut], "{place}: {} bytes are aside", aside.len());
    let verdict = tool(daemon.home(), "verify", &[]);
    assert_eq!(verdict.code, 0, "{place}: {}", verdict.stdout);
}

#[test]
fn the_program_starts_at_a_sample_of_offsets() {
    let mut chance = Chance::new(seed());
    for (format, share) in [(Format::Text, 1), (Format::Jsonl, 5), (Format::Raw, 5)] {
        let killed = Killed::new(format, LENGTH / share);
        let (bytes, ends) = (killed.bytes(), record_ends(format, killed.bytes()));
        let last = ends[ends.len() - 2];
        let mut cuts = vec![0, 1, ends[0] - 1, ends[0], last, last + 1, bytes.len() - 1, bytes.len()];
        cuts.extend(sample(&mut chance, count("ECHOSTORED_TEST_OFFSETS", 50) / share, bytes.len() + 1));
        std::thread::scope(|scope| {
            for part in cuts.chunks(cuts.len().div_ceil(2)) {
                let (killed, ends) = (&killed, &ends);
                scope.spawn(move || part.iter().for_each(|&cut| started_on(killed, cut, whole_at(ends, cut))));
            }
        });
        println!("{format:?}: {} starts", cuts.len());
    }
}
