//! Servers that do not echo what they are sent.
use super::{bench, failed, figures};
use socket2::SockRef;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

/// A server of the test's own, a thread for each connection; it lives as long as the test binary.
pub fn serve(each: impl Fn(TcpStream) + Clone + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let each = each.clone();
            std::thread::spawn(move || each(stream));
        }
    });
    address
}

/// Echoes, each piece as `change` makes it: it is given where in the stream the piece begins.
fn echo(mut stream: TcpStream, mut change: impl FnMut(usize, &mut Vec<u8>)) {
    let (mut buffer, mut at) = (vec![0; 65536], 0);
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        let mut piece = buffer[..count].to_vec();
        change(at, &mut piece);
        at += count;
        if stream.write_all(&piece).is_err() {
            return;
        }
    }
}

const RUN: [&str; 6] = ["--connections", "2", "--in-flight", "10", "--count", "1000"];

#[test]
fn an_honest_one_is_content() {
    let address = serve(|stream| echo(stream, |_, _| {}));
    assert_eq!(figures(&address, &RUN)["messages"], 1000);
}

#[test]
fn a_flipped_bit_is_found_where_it_is() {
    // In message 31 of a connection: the run's name is at its beginning, so take a byte behind it.
    let address = serve(|stream| {
        echo(stream, |at, piece| {
            if let Some(byte) = (30usize * 128 + 100).checked_sub(at).and_then(|place| piece.get_mut(place)) {
                *byte ^= 0x20;
            }
        });
    });
    failed(
        &bench(&address, &RUN),
        1,
        &["(127.0.0.1:", "byte 3940 of its echoes", "byte 100 of message 31: expected \"", "received \""],
    );
}

#[test]
fn a_dropped_byte_is_found() {
    let drop_at = |dropped: usize| {
        serve(move |stream| {
            echo(stream, |at, piece| {
                if let Some(place) = dropped.checked_sub(at).filter(|place| *place < piece.len()) {
                    piece.remove(place);
                }
            });
        })
    };
    failed(&bench(&drop_at(10_050), &RUN), 1, &["byte 10050 of its echoes", "expected"]);
    // The very last byte of a connection: nothing follows that would differ.
    let ended = bench(&drop_at(500 * 128 - 1), &[&RUN[..], &["--timeout", "500ms"]].concat());
    failed(&ended, 1, &["no echo", "1 bytes are not echoed", "0.5 s"]);
}

#[test]
fn foreign_bytes_are_found_before_between_and_after() {
    let greeting = serve(|mut stream| {
        stream.write_all(b"220 hello\r\n").unwrap();
        echo(stream, |_, _| {});
    });
    failed(&bench(&greeting, &RUN), 1, &["connection ", "220 hello"]);
    let between = serve(|stream| echo(stream, |_, piece| piece.push(b'!')));
    failed(&bench(&between, &["--connections", "1", "--count", "1000"]), 1, &["received what was not sent: \"!\""]);
    let after = serve(|stream| {
        let mut last = stream.try_clone().unwrap();
        echo(stream, |_, _| {});
        let _ = last.write_all(b"bye");
    });
    failed(&bench(&after, &RUN), 1, &["received what was not sent: \"bye\""]);
}

#[test]
fn a_server_that_closes_or_resets_is_found() {
    let closes = serve(|mut stream| {
        let mut buffer = [0; 128];
        for _ in 0..5 {
            stream.read_exact(&mut buffer).unwrap();
            stream.write_all(&buffer).unwrap();
        }
    });
    // In flight 1: all five are echoed, and the sixth is refused in order or by a reset, as its bytes were read or not.
    failed(
        &bench(&closes, &["--connections", "1", "--count", "1000"]),
        1,
        &["connection 1 (127.0.0.1:", "byte 640 of its echoes"],
    );
    let ends = serve(|mut stream| {
        let mut buffer = [0; 65536];
        let _ = stream.read(&mut buffer);
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        while matches!(stream.read(&mut buffer), Ok(1..)) {}
    });
    failed(&bench(&ends, &RUN), 1, &["the server closed it with", "bytes to be echoed"]);
    let resets = serve(|mut stream| {
        let mut buffer = [0; 128];
        stream.read_exact(&mut buffer).unwrap();
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    });
    failed(&bench(&resets, &RUN), 1, &["it broke: Connection reset by peer"]);
}

#[test]
fn a_silent_one_is_left_after_the_timeout() {
    let address = serve(|mut stream| {
        let mut buffer = [0; 65536];
        while matches!(stream.read(&mut buffer), Ok(1..)) {}
    });
    failed(&bench(&address, &["--timeout", "300ms"]), 1, &["no echo", "128 bytes are not echoed"]);
}
