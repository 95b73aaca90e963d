//! What names a client: the PROXY protocol, from a proxy or from somebody who passes for one; the subject of a certificate.
use super::{Input, is_harmless};
use crate::config::Format;
use crate::protocol::proxy::{MAX, Step, parse};
use crate::store::record::{self, SUBJECT_MAX, Source, Stamp};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Any bytes; or a right header, and what follows it.
pub fn proxy(data: &[u8]) {
    let mut input = Input(data);
    let choice = input.byte();
    if choice & 3 == 0 {
        return any_bytes(input.rest());
    }
    let (header, client) = if choice & 1 == 1 { version_1(choice, &mut input) } else { version_2(choice, &mut input) };
    let length = header.len();
    let stream = [&header, input.rest()].concat();
    assert_eq!(parse(&stream), Step::Header { client, length }, "{}", stream.escape_ascii());
    any_bytes(&stream);
}

/// However the bytes come, the verdict is the same, and it is not waited for more than may be.
fn any_bytes(bytes: &[u8]) {
    let verdict = parse(bytes);
    for end in 0..bytes.len().min(300) {
        let early = parse(&bytes[..end]);
        assert!(early == Step::More || early == verdict, "a verdict that more bytes take back, at {end}");
    }
    match verdict {
        Step::More => assert!(bytes.len() < MAX),
        Step::Header { length, .. } => assert!((8..=bytes.len().min(MAX)).contains(&length)),
        Step::Malformed => {}
    }
}

fn four(input: &mut Input<'_>) -> (Ipv4Addr, u16) {
    let word = input.word();
    (Ipv4Addr::from_bits(word as u32), (word >> 32) as u16)
}

fn six(input: &mut Input<'_>) -> (Ipv6Addr, u16) {
    let (high, low) = (u128::from(input.word()), u128::from(input.word()));
    (Ipv6Addr::from_bits(high << 64 | low), u16::from(input.byte()) * 257)
}

type Made = (Vec<u8>, Option<SocketAddr>);

fn version_1(choice: u8, input: &mut Input<'_>) -> Made {
    let (text, client) = match choice >> 2 & 3 {
        0 => ("UNKNOWN".to_owned(), None),
        1 => {
            let ((from, port), (to, other)) = (six(input), six(input));
            (format!("TCP6 {from} {to} {port} {other}"), Some(SocketAddr::from((from, port))))
        }
        _ => {
            let ((from, port), (to, other)) = (four(input), four(input));
            (format!("TCP4 {from} {to} {port} {other}"), Some(SocketAddr::from((from, port))))
        }
    };
    (format!("PROXY {text}\r\n").into_bytes(), client)
}

fn version_2(choice: u8, input: &mut Input<'_>) -> Made {
    let (command, family, mut block, client) = match choice >> 2 & 3 {
        // `LOCAL`: the addresses, if there are any, are not looked at.
        0 => (0x20, 0, Vec::new(), None),
        1 => {
            let ((from, port), (to, other)) = (six(input), six(input));
            let block = [&from.octets()[..], &to.octets(), &port.to_be_bytes(), &other.to_be_bytes()].concat();
            (0x21, 0x21, block, Some(SocketAddr::from((from, port))))
        }
        _ => {
            let ((from, port), (to, other)) = (four(input), four(input));
            let block = [&from.octets()[..], &to.octets(), &port.to_be_bytes(), &other.to_be_bytes()].concat();
            (0x21, 0x11, block, Some(SocketAddr::from((from, port))))
        }
    };
    // Attributes, which are passed over: of a type that nobody knows.
    let value = input.some();
    block.extend_from_slice(&[0xea, 0, value.len() as u8]);
    block.extend_from_slice(value);
    let length = u16::try_from(block.len()).unwrap_or(0).to_be_bytes();
    ([V2, &[command, family], &length, &block].concat(), client)
}

/// The subject of a client's certificate: of any length and with any bytes, it is short and can stand in a record.
pub fn subject(data: &[u8]) {
    let Some(text) = crate::tls::subject::text(data) else { return };
    assert!(text.len() <= SUBJECT_MAX);
    let mut record = Vec::new();
    let source = Source::named(Format::Jsonl, "[::1]:5", Some(&text), "c");
    record::append(&mut record, Format::Jsonl, &Stamp::new(0), &source, 1, b"");
    let line = record.strip_suffix(b"\n").unwrap_or(&record);
    let read = crate::store::parse::parse(Format::Jsonl, line);
    assert!(read.is_ok_and(|read| read.subject.as_deref() == Some(&text)), "{text:?}");
    assert!(std::str::from_utf8(line).is_ok_and(is_harmless), "a terminal would be attacked: {text:?}");
}
