use super::*;
use crate::archiver::runner::Word;
use crate::ipc::control::{Channel, Received};
use crate::sys::file::open_directory;
use crate::sys::{AsFd, fdpass};
use std::path::Path;

fn name(sequence: u64) -> SegmentName {
    SegmentName { prefix: "m".into(), sequence, start: 0 }
}

/// A hook whose runner is the test.
fn hook(place: &Path) -> (Hook, Channel<Word, Ask>) {
    let directory = open_directory(place).unwrap();
    let (ours, theirs) = fdpass::pair().unwrap();
    let hook = Hook::new(Some(Channel::new(ours)), Duration::from_secs(60), directory.as_fd());
    (hook, Channel::new(theirs))
}

#[test]
fn waits_double_up_to_five_minutes() {
    let waits: Vec<u64> = (1..=12).map(|attempts| back_off(attempts).as_secs()).collect();
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
    assert_eq!(back_off(u32::MAX), LONGEST);
}

#[test]
fn the_lowest_number_comes_first_and_what_cannot_be_read_is_kept_in_mind() {
    let place = tempfile::tempdir().unwrap();
    let directory = open_directory(place.path()).unwrap();
    let (mut hook, _runner) = hook(place.path());
    let names: Vec<SegmentName> = (1..=5).map(name).collect();
    let now = Instant::now();
    let choose = |hook: &Hook, states: [Ready; 5]| {
        let ready = |name: &SegmentName| states[usize::try_from(name.sequence).unwrap() - 1];
        hook.choose(names.iter(), ready, now).map(|name| name.sequence)
    };
    use Ready::{Soon, Stuck, Yes};
    assert_eq!(choose(&hook, [Yes; 5]), Some(1));
    assert_eq!(choose(&hook, [Soon, Yes, Yes, Yes, Yes]), None);
    assert_eq!(choose(&hook, [Stuck, Stuck, Yes, Yes, Yes]), Some(3));
    hook.note_done(3, [1, 2].into_iter(), directory.as_fd()).unwrap();
    assert_eq!(choose(&hook, [Stuck, Stuck, Yes, Yes, Yes]), Some(4));
    assert_eq!(choose(&hook, [Stuck, Yes, Yes, Yes, Yes]), Some(2));
    hook.note_done(2, [].into_iter(), directory.as_fd()).unwrap();
    let (again, _) = super::tests::hook(place.path());
    assert_eq!(again.done, Done { through: 3, left: vec![1] });
    assert!(again.is_pending(1) && !again.is_pending(2) && again.is_pending(4));
    assert!(hook.forget(&name(1)) && !hook.forget(&name(1)) && !hook.forget(&name(2)) && hook.forget(&name(5)));
}

#[test]
fn without_a_program_nothing_is_pending() {
    let place = tempfile::tempdir().unwrap();
    std::fs::write(place.path().join(FILE), "garbage").unwrap();
    let directory = open_directory(place.path()).unwrap();
    let hook = Hook::new(None, Duration::from_secs(60), directory.as_fd());
    assert!(!hook.is_pending(1) && !hook.is_on());
}

#[test]
fn a_program_that_is_not_there_fails_and_waits() {
    let place = tempfile::tempdir().unwrap();
    let (mut hook, runner) = hook(place.path());
    let seal = Seal {
        segment: name(1).build(),
        records: 1,
        bytes: 1,
        lowest: None,
        highest: None,
        good_to: None,
        torn: None,
        acknowledged: None,
        blake3: "00".repeat(32),
    };
    let now = Instant::now();
    hook.start(&name(1), Form::Plain, &seal, now);
    let Ok(Received::Message(asked)) = runner.receive() else { panic!("nothing was asked") };
    assert_eq!(asked, Ask::Run(Job::new(&name(1), Form::Plain, &seal)));
    assert_eq!(hook.not_run("no such file", now), Some(Ended { name: name(1), well: false }));
    assert_eq!(hook.wake(), Some(now + Duration::from_secs(1)));
    let names = [name(1)];
    assert_eq!(hook.choose(names.iter(), |_| Ready::Yes, now), None);
    assert_eq!(hook.choose(names.iter(), |_| Ready::Yes, now + Duration::from_secs(1)), Some(&names[0]));
    // A word on nothing that runs is none.
    assert_eq!(hook.ended(Ending::Exit(0), now), None);
    assert_eq!(hook.not_run("again", now), None);
}

#[test]
fn one_that_takes_too_long_is_ended_and_then_killed() {
    let place = tempfile::tempdir().unwrap();
    let (mut hook, runner) = hook(place.path());
    let seal = Seal {
        segment: name(1).build(),
        records: 1,
        bytes: 1,
        lowest: None,
        highest: None,
        good_to: None,
        torn: None,
        acknowledged: None,
        blake3: "00".repeat(32),
    };
    let now = Instant::now();
    let asked = || match runner.receive() {
        Ok(Received::Message(ask)) => Some(ask),
        _ => None,
    };
    hook.start(&name(1), Form::Plain, &seal, now);
    assert!(matches!(asked(), Some(Ask::Run(_))));
    hook.tend(now + Duration::from_secs(59));
    assert_eq!(asked(), None);
    hook.tend(now + Duration::from_secs(60));
    hook.tend(now + Duration::from_secs(60) + GRACE);
    assert_eq!([asked(), asked(), asked()], [Some(Ask::End), Some(Ask::Kill), None]);
    // That it exits with 0 in the end does not help.
    assert_eq!(hook.ended(Ending::Exit(0), now), Some(Ended { name: name(1), well: false }));
}
