//! Makes a large sealed store, for measuring by hand: it stays where it is told to be.
use crate::store::seal;
use echostored::config::Format;
use echostored::store::names::SegmentName;
use echostored::store::record::{Source, Stamp, append};
use std::fs;
use std::path::Path;

#[test]
#[ignore = "makes files for a measurement: ECHOSTORED_TEST_DIRECTORY, ECHOSTORED_TEST_MESSAGE bytes, ECHOSTORED_TEST_FILES of 64 MiB"]
fn make_a_large_sealed_store() {
    let asked = |name: &str, default: u64| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let place = std::env::var("ECHOSTORED_TEST_DIRECTORY").expect("ECHOSTORED_TEST_DIRECTORY says where");
    let (size, files) = (asked("ECHOSTORED_TEST_MESSAGE", 128), asked("ECHOSTORED_TEST_FILES", 8));
    let connections = asked("ECHOSTORED_TEST_CONNECTIONS", 50);
    let sources: Vec<Source> = (0..connections)
        .map(|id| Source::new(Format::Text, &format!("127.0.0.1:{}", 40000 + id % 20000), &format!("00010200{id:02}")))
        .collect();
    let message: Vec<u8> = (0..size).map(|at| b'a' + (at % 26) as u8).collect();
    let place = Path::new(&place);
    fs::create_dir_all(place).unwrap();
    fs::write(place.join(".store"), "version = 1\n").unwrap();
    let (mut count, mut sealed) = (0u64, Vec::new());
    for sequence in 1..=files {
        let mut bytes = Vec::new();
        while bytes.len() < 64 << 20 {
            // 64 at a time of each connection, as a window of messages in flight comes.
            let turn = count / 64;
            let (source, n) = (&sources[(turn % connections) as usize], turn / connections * 64 + count % 64 + 1);
            let stamp = Stamp::new(1_795_336_920_000_000 + i64::try_from(turn * 25).unwrap());
            append(&mut bytes, Format::Text, &stamp, source, n, &message);
            count += 1;
        }
        let name = SegmentName { prefix: "messages".into(), sequence, start: 1_795_336_920 }.build();
        fs::write(place.join(&name), bytes).unwrap();
        sealed.push(place.join(name));
    }
    seal(place, &sealed);
}
