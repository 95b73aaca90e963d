//! Tests of `supervisor::watchdog`.
use super::*;

const SECOND: Duration = Duration::from_secs(1);
const STANDS: Seen = Seen { progress: 1, on_disk: false, state: Some('S') };
const ON_DISK: Seen = Seen { on_disk: true, ..STANDS };

fn who(pid: i32) -> Who {
    Who { worker: None, pid: Pid::from_raw(pid) }
}

/// What is said each second of a role that is seen like this, one after the other.
fn words(patience: Option<u32>, seen: &[Seen]) -> Vec<Word> {
    let begin = Instant::now();
    let mut track = Track::new(who(1), begin);
    let mut now = begin;
    let said = seen.iter().map(|seen| {
        now += SECOND;
        track.look(*seen, now, patience.map(|patience| SECOND * patience))
    });
    said.filter(|word| *word != Word::Nothing).collect()
}

#[test]
fn who_does_not_move_hangs_and_is_told_of_once() {
    let moves = |progress| Seen { progress, ..STANDS };
    assert_eq!(words(Some(3), &[moves(1), moves(2), moves(3), moves(4), moves(5), moves(6)]), []);
    assert_eq!(words(Some(3), &[STANDS; 3]), []);
    assert_eq!(words(Some(3), &[STANDS; 20]), [Word::Hangs(SECOND * 3)]);
    let again = [[STANDS; 9].as_slice(), &[moves(2)], &[moves(2); 9]].concat();
    assert_eq!(words(Some(3), &again), [Word::Hangs(SECOND * 3), Word::GoesOn(SECOND * 9), Word::Hangs(SECOND * 3)]);
    assert_eq!(words(None, &[STANDS; 20]), [Word::Hangs(SECOND * 10)], "told, though nobody asks");
}

#[test]
fn who_waits_for_the_disk_does_not_hang() {
    assert_eq!(words(Some(3), &[ON_DISK; 20]), [Word::Waits(SECOND * 3)]);
    assert_eq!(words(Some(15), &[ON_DISK; 20]), [Word::Waits(SECOND * 10)]);
    assert_eq!(words(None, &[ON_DISK; 20]), [Word::Waits(SECOND * 10)]);
    // Back from a long call it has not moved yet.
    let back = [[ON_DISK; 20].as_slice(), &[STANDS; 2], &[Seen { progress: 2, ..STANDS }]].concat();
    assert_eq!(words(Some(3), &back), [Word::Waits(SECOND * 3), Word::GoesOn(SECOND * 22)]);
    let spins = [[ON_DISK; 20].as_slice(), &[STANDS; 9]].concat();
    assert_eq!(words(Some(3), &spins), [Word::Waits(SECOND * 3), Word::Hangs(SECOND * 3)]);
    for state in ['D', 'Z', 'X'] {
        let seen = Seen { state: Some(state), ..STANDS };
        assert_eq!(words(Some(3), &[seen; 5]), [Word::Waits(SECOND * 3)], "{state}");
    }
    assert_eq!(words(Some(3), &[Seen { state: None, ..ON_DISK }; 5]), [Word::Waits(SECOND * 3)]);
}

#[test]
fn who_is_stopped_hangs_also_in_a_call() {
    for state in ['T', 't'] {
        let stopped = Seen { state: Some(state), ..ON_DISK };
        assert_eq!(words(Some(3), &[stopped; 9]), [Word::Hangs(SECOND * 3)], "{state}");
        // Let go, it waits for the disk: no word, but no hanging either.
        let freed = [[stopped; 9].as_slice(), &[ON_DISK; 9], &[Seen { progress: 2, ..STANDS }]].concat();
        assert_eq!(words(Some(3), &freed), [Word::Hangs(SECOND * 3), Word::GoesOn(SECOND * 18)]);
    }
}

/// Looks and feeds every tick for `ticks`; at which ticks it was fed.
fn feed(watchdog: &mut Watchdog, from: Instant, ticks: u32, seen: impl Fn(u32) -> Seen, stopping: bool) -> Vec<u32> {
    let tick = watchdog.tick();
    let mut fed = Vec::new();
    for n in 1..=ticks {
        let now = from + tick * n;
        assert!(watchdog.is_due(now) && !watchdog.is_due(now + tick / 2));
        watchdog.look(who(1), seen(n), now);
        if watchdog.wants_food(now, stopping) {
            watchdog.fed = Some(now);
            fed.push(n);
        }
    }
    fed
}

#[test]
fn it_is_fed_each_quarter_while_all_move() {
    let begin = Instant::now();
    let mut watchdog = Watchdog::new(Some(SECOND * 2), begin);
    assert_eq!(watchdog.tick(), SECOND / 4);
    let moves = |n| Seen { progress: u64::from(n), ..STANDS };
    assert_eq!(feed(&mut watchdog, begin, 8, moves, false), [1, 3, 5, 7]);
    // Four ticks are half of the interval.
    let then = begin + SECOND * 2;
    let stands = |_| Seen { progress: 8, ..STANDS };
    assert_eq!(feed(&mut watchdog, then, 8, stands, false), [1, 3]);
    assert_eq!(feed(&mut watchdog, then + SECOND * 2, 4, stands, true), [1, 3], "a stop has its own deadlines");
    assert_eq!(feed(&mut watchdog, then + SECOND * 3, 4, |n| moves(20 + n), false), [1, 3]);
    let on_disk = |_| Seen { progress: 24, ..ON_DISK };
    assert_eq!(feed(&mut watchdog, then + SECOND * 4, 16, on_disk, false), [1, 3, 5, 7, 9, 11, 13, 15]);
    let mut nobody = Watchdog::new(None, begin);
    assert_eq!((nobody.tick(), feed(&mut nobody, begin, 8, moves, false)), (SECOND, vec![]));
}

#[test]
fn a_supervisor_that_was_paused_blames_nobody() {
    let begin = Instant::now();
    let mut watchdog = Watchdog::new(Some(SECOND * 30), begin);
    assert_eq!(feed(&mut watchdog, begin, 14, |_| STANDS, false), [1, 9], "an hour passes");
    let now = begin + SECOND * 3600;
    assert!(watchdog.is_due(now));
    assert_eq!(watchdog.look(who(1), STANDS, now), Word::Nothing);
    assert!(watchdog.wants_food(now, false));
}

#[test]
fn more_time_is_asked_for_only_after_work() {
    let begin = Instant::now();
    let mut watchdog = Watchdog::new(None, begin);
    let mut asked = |tenths: u32, work| watchdog.has_worked(work, tenths > 50, begin + SECOND / 10 * tenths);
    assert!(!asked(5, 7), "too early");
    assert!(asked(10, 7) && !asked(15, 8) && asked(20, 8) && !asked(30, 8) && asked(40, 9));
    assert!(!asked(60, 10) && !asked(70, 10) && asked(80, 11), "what was done before the stop");
}

#[test]
fn an_interval_of_any_length_is_survived() {
    for interval in [1, 1_000_000, u64::MAX - 1] {
        let begin = Instant::now();
        let mut watchdog = Watchdog::new(Some(Duration::from_micros(interval)), begin);
        assert!((SHORTEST_TICK..=TICK).contains(&watchdog.tick()));
        assert!(!feed(&mut watchdog, begin, 4, |n| Seen { progress: n.into(), ..STANDS }, false).is_empty());
    }
}
