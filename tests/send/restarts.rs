//! A daemon that is stopped or killed, and started again.
use super::{Feeder, Sender, all_doubles_are_told, stored};
use crate::support::daemon::{Setup, free_address};
use crate::support::framing::Framing;
use crate::support::{DEADLINE, seed, wait_until};

#[test]
fn everything_is_stored_through_restarts() {
    let count = seed::count("ECHOSTORED_TEST_SEND", 10);
    let mut daemon = Setup::default().listen(&[free_address()]).start();
    let mut sender = Sender::start(&[&daemon.address.to_string(), "--exactly"]);
    let feeder = Feeder::start(sender.input(), Framing::Line);
    let mut chance = seed::Chance::new(seed::seed());
    for _ in 0..count {
        let size = || std::fs::metadata(daemon.current()).map_or(0, |meta| meta.len());
        let before = size();
        wait_until(DEADLINE, "more in the store", || size() > before);
        match chance.below(2) {
            0 => daemon.kill_all(),
            _ => daemon.stop(),
        }
        daemon.start_again();
    }
    let fed = feeder.stop();
    let ended = sender.end(DEADLINE);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    daemon.stop();
    let (doubles, told) = all_doubles_are_told(&stored(&daemon, Framing::Line, fed), &ended.stdout);
    println!("{count} restarts, {fed} messages, {doubles} stored twice, {told} told");
    assert!(told > 0, "nothing was in flight at any restart: this shows nothing");
}
