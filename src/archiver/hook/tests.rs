use super::*;
use crate::sys::AsFd;
use crate::sys::file::open_directory;

fn name(sequence: u64) -> SegmentName {
    SegmentName { prefix: "m".into(), sequence, start: 0 }
}

fn hook(command: &[&str], place: &Path) -> Hook {
    let directory = open_directory(place).unwrap();
    Hook::new(command.iter().map(|&part| part.to_owned()).collect(), Duration::from_secs(60), directory.as_fd())
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
    let mut hook = hook(&["x"], place.path());
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
    let again = super::tests::hook(&["x"], place.path());
    assert_eq!(again.done, Done { through: 3, left: vec![1] });
    assert!(again.is_pending(1) && !again.is_pending(2) && again.is_pending(4));
    assert!(hook.forget(&name(1)) && !hook.forget(&name(1)) && !hook.forget(&name(2)) && hook.forget(&name(5)));
}

#[test]
fn without_a_program_nothing_is_pending() {
    let place = tempfile::tempdir().unwrap();
    std::fs::write(place.path().join(FILE), "garbage").unwrap();
    let hook = hook(&[], place.path());
    assert!(!hook.is_pending(1) && !hook.is_on());
}

#[test]
fn a_program_that_is_not_there_fails_and_waits() {
    let place = tempfile::tempdir().unwrap();
    let mut hook = hook(&["/nowhere/at/all"], place.path());
    let seal = Seal {
        segment: name(1).build(),
        records: 1,
        bytes: 1,
        lowest: None,
        highest: None,
        good_to: None,
        blake3: "00".repeat(32),
    };
    let now = Instant::now();
    let ended = hook.start(place.path(), &name(1), Form::Plain, &seal, now);
    assert_eq!(ended, Some(Ended { name: name(1), well: false }));
    assert_eq!(hook.wake(), Some(now + Duration::from_secs(1)));
    let names = [name(1)];
    assert_eq!(hook.choose(names.iter(), |_| Ready::Yes, now), None);
    assert_eq!(hook.choose(names.iter(), |_| Ready::Yes, now + Duration::from_secs(1)), Some(&names[0]));
    // An ending of somebody else's child is none of ours.
    assert_eq!(hook.ended(Pid::from_raw(i32::MAX), Ending::Exit(0), now), None);
}
