//! What `cat --format raw` prints of each connection is what its client has sent.
use super::run;
use super::support::client::{Client, History, Messages};
use super::support::daemon::Setup;
use super::support::drive::serve;
use super::support::framing::{Format, Framing};
use super::support::shelf;

fn sent(history: &History) -> Vec<u8> {
    (0..history.sent).flat_map(|index| [history.messages.stored(index), b"\n".to_vec()].concat()).collect()
}

/// Random bytes on several connections, over several files, of which the first is compressed.
fn combination(framing: Framing, format: Format) {
    let setup = Setup::default().set("server.framing", framing.name()).set("store.format", format.name());
    let mut daemon = setup.set("rotate.max-size", "64KiB").start();
    let client = |largest, quota| {
        let client = Client::connect(daemon.address, framing, Messages::generated(framing, 1, largest)).unwrap();
        // In `chunk` a message is what one read brings: one at a time, so that these are ours.
        client.window(if framing == Framing::Chunk { 1 } else { 16 }).quota(quota).half_close()
    };
    let histories = serve(vec![client(300, 200), client(2000, 100), client(20, 300)]);
    daemon.stop();
    let store = daemon.store();
    let first = shelf::segments(&store).first_key_value().unwrap().1[0].clone();
    assert!(shelf::segments(&store).len() > 1, "one file");
    shelf::compress(&first);
    for history in &histories {
        let peer = history.peer.to_string();
        let printed = run(&store, &["cat", "--format", "raw", "--peer", &peer]);
        assert_eq!(printed.status.code(), Some(0), "{printed:?}");
        assert!(printed.stdout == sent(history), "{} x {}: {peer}", framing.name(), format.name());
    }
}

#[test]
fn raw_is_what_was_sent_in_every_framing() {
    for format in [Format::Text, Format::Jsonl] {
        std::thread::scope(|scope| {
            for framing in Framing::ALL {
                scope.spawn(move || combination(framing, format));
            }
        });
    }
}
