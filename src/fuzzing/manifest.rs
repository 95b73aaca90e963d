//! The store's notes on its segments.
use super::Input;
use crate::config::Format;
use crate::store::directory;
use crate::store::failed::Failures;
use crate::store::manifest::{Anchor, Failed, Gone, Line, Manifest, NO_CHAIN, Packed, Pruned, Seal};
use crate::store::names::SegmentName;
use crate::store::recovery::{CleanEnd, Verdict, verdict};

/// Any text; or a manifest that was written line by line and then cut, or changed.
pub fn manifest(data: &[u8]) {
    let mut input = Input(data);
    let choice = input.byte();
    if choice & 3 == 0 {
        any_text(input.rest());
        return;
    }
    let place = input.word();
    let (text, anchor) = written(&mut input, choice & 4 != 0);
    let sound = Manifest::parse(&text);
    assert_eq!((sound.flaw_count, sound.torn, sound.remnants.len()), (0, 0, 0));
    if text.is_empty() {
        return;
    }
    if choice & 3 == 1 {
        // A manifest with an anchor was renamed into its place: no power cut tears that line.
        let cut = anchor + usize::try_from(place % (text.len() - anchor + 1) as u64).unwrap_or(0);
        cut_off(&text, cut, &mut input);
    } else {
        let mut changed = text.clone();
        let at = usize::try_from(place % text.len() as u64).unwrap_or(0);
        changed[at] ^= input.byte().max(1);
        let told = Manifest::parse(&changed);
        assert!(told.flaw_count > 0 || told.torn > 0, "a change that nobody sees, at byte {at}");
    }
}

fn any_text(text: &[u8]) {
    let manifest = Manifest::parse(text);
    let behind = text.rsplit(|&byte| byte == b'\n').next().map_or(0, <[u8]>::len);
    assert_eq!(manifest.torn, behind as u64);
    assert_eq!(manifest.lines, text.split_inclusive(|&byte| byte == b'\n').count() as u64);
    assert!(manifest.flaws.len() as u64 <= manifest.flaw_count && manifest.chain().len() == NO_CHAIN.len());
    assert!(manifest.foldable(text, |number| number & 1 == 0) as u64 <= manifest.lines);
    for line in text.split(|&byte| byte == b'\n') {
        let Some(line) = Line::parse(line) else { continue };
        let again = serde_json::to_vec(&line).ok().and_then(|text| Line::parse(&text));
        assert_eq!(again.as_ref(), Some(&line), "read otherwise when written again");
    }
}

/// Some lines, as the archiver writes them, and how long the anchor before them is.
fn written(input: &mut Input<'_>, anchored: bool) -> (Vec<u8>, usize) {
    let (mut text, mut chain) = (Vec::new(), NO_CHAIN.to_owned());
    if anchored {
        let anchor = Anchor { through: 7, files: 7, records: input.word(), bytes: 9, gone: 1 };
        chain = append(Line::Anchor(anchor), &mut text, &chain);
    }
    let anchor = text.len();
    while !input.is_empty() && text.len() < 4096 {
        chain = append(any_line(input), &mut text, &chain);
    }
    (text, anchor)
}

fn append(line: Line, text: &mut Vec<u8>, chain: &str) -> String {
    let Ok(chain) = line.append(text, chain) else { panic!("a vector takes all") };
    chain
}

fn any_line(input: &mut Input<'_>) -> Line {
    let (choice, number) = (input.byte(), u64::from(input.byte()));
    let segment = SegmentName { prefix: "messages".to_owned(), sequence: 8 + number, start: 1_795_336_920 }.build();
    let time = "2026-11-22T08:42:00Z".to_owned();
    match choice % 5 {
        0 => {
            let lowest = (choice & 8 != 0).then(|| time.clone());
            let good_to = (choice & 16 != 0).then_some(number);
            let blake3 = NO_CHAIN.to_owned();
            Line::Seal(Seal {
                segment,
                records: number,
                bytes: number,
                highest: lowest.clone(),
                lowest,
                good_to,
                torn: good_to,
                acknowledged: good_to,
                blake3,
            })
        }
        1 => {
            Line::Packed(Packed { file: format!("{segment}.zst"), segment, bytes: number, blake3: NO_CHAIN.to_owned() })
        }
        2 => Line::Pruned(Pruned { segment, reason: "max-files".to_owned(), time }),
        3 => Line::Gone(Gone { segment, time }),
        _ => Line::Failed(Failed {
            segment: segment.clone(),
            good_to: number,
            moved_to: Some(segment),
            lost: vec![(number, number)],
        }),
    }
}

/// A power cut leaves a part of the last line, or of the last ones; then the archiver goes on.
fn cut_off(text: &[u8], cut: usize, input: &mut Input<'_>) {
    let mut left = text[..cut].to_vec();
    let torn = Manifest::parse(&left);
    assert_eq!((torn.flaw_count, torn.remnants.len()), (0, 0), "a power cut is taken for a change, at byte {cut}");
    let mut chain = torn.chain().to_owned();
    if torn.torn > 0 {
        left.push(b'\n');
    }
    for _ in 0..2 {
        chain = append(any_line(input), &mut left, &chain);
    }
    let gone_on = Manifest::parse(&left);
    assert_eq!(
        (gone_on.flaw_count, gone_on.torn),
        (0, 0),
        "going on after a power cut is taken for a change, at byte {cut}"
    );
}

/// `.failed.jsonl`.
pub fn failed(data: &[u8]) {
    let failures = Failures::parse(data);
    let entries = failures.clone().into_entries();
    let mut text = Vec::new();
    for entry in &entries {
        // They are used as file names.
        assert!(
            entry.name().is_some() && entry.moved_to.as_deref().is_none_or(|name| SegmentName::parse(name).is_some())
        );
        assert_eq!(failures.of(&entry.segment), Some(entry), "two last words on one segment");
        assert!(failures.end(&entry.segment, 1000, |_| true) <= 1000);
        assert!(serde_json::to_writer(&mut text, entry).is_ok());
        text.push(b'\n');
    }
    for harm in failures.harms() {
        assert!(harm.name().is_some() && failures.acknowledged(&harm.segment) == Some(harm.acknowledged));
        assert!(serde_json::to_writer(&mut text, harm).is_ok());
        text.push(b'\n');
    }
    assert_eq!(Failures::parse(&text), failures);
}

/// `.clean` and `.store`: only a note that fits lets a file be gone on with unseen.
pub fn notes(data: &[u8]) {
    let mut input = Input(data);
    let length = u64::from(input.byte());
    let Ok(text) = std::str::from_utf8(input.rest()) else { return };
    let _ = directory::era_in(text);
    let note = directory::parse::<CleanEnd>(text).ok();
    let newest = SegmentName { prefix: "messages".to_owned(), sequence: 42, start: 1_795_336_920 };
    for format in [Format::Text, Format::Jsonl, Format::Raw] {
        let judged = verdict(&newest, length, note.as_ref(), "messages", format);
        if judged == (Verdict::Resume { check: false }) {
            let words = [newest.build(), length.to_string()];
            assert!(words.iter().all(|word| text.contains(word)), "resumed without a note that fits");
        }
    }
}
