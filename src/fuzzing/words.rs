//! Words: names, ids, cursors, requests and replies, what to print, control packets, input to send.
use super::Input;
use crate::ipc::command::{self, Incoming, Reply};
use crate::ipc::control::{Message, ToArchiver, ToExporter, ToSupervisor, ToWorker, ToWriter};
use crate::ipc::report::Guest;
use crate::protocol::ids::ConnectionId;
use crate::store::names::{Form, SegmentName, valid_prefix};
use crate::store::parse::Record;
use crate::store::stamp::Stamp;
use crate::sys::OwnedFd;
use crate::tools::select::{Peer, Selection, moment};
use crate::tools::send::cutter::Cutter;
use crate::tools::tail::cursor::{Cursor, Place};
use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

/// Connection ids: one spelling each.
pub fn ids(data: &[u8]) {
    if let Some(id) = ConnectionId::parse(data) {
        assert_eq!(id.to_string().as_bytes(), data);
    }
    let mut input = Input(data);
    let [epoch, incarnation] = [input.word(), input.word()].map(|word| (word >> (word % 64)) as u32);
    let id = ConnectionId { epoch, incarnation, counter: input.word() };
    assert_eq!(ConnectionId::parse(id.to_string().as_bytes()), Some(id));
}

/// Cursors: one spelling each.
pub fn cursor(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data)
        && let Some(cursor) = Cursor::parse(text)
    {
        assert_eq!(cursor.to_string(), text);
    }
    let mut input = Input(data);
    let cursor = Cursor { store: input.word(), place: Place { sequence: input.word(), offset: input.word() } };
    assert_eq!(Cursor::parse(&cursor.to_string()), Some(cursor));
}

/// Names of files: one spelling each, and never a path.
pub fn names(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(name) = SegmentName::parse(text) {
        assert_eq!(name.build(), text);
        assert_eq!(Form::parse(text), Some((name, Form::Plain)));
        assert!(!text.contains('/') && !text.starts_with('.') && valid_prefix(text).is_ok() | (text.len() > 64));
    }
    if let Some((name, form)) = Form::parse(text) {
        assert_eq!(form.of(&name.build()), text);
    }
    if valid_prefix(text).is_ok() {
        let [sequence, start] =
            [0, 8].map(|at| data.iter().skip(at).take(8).fold(0, |sum, &byte| sum << 8 | u64::from(byte)));
        let name = SegmentName { prefix: text.to_owned(), sequence, start: start.cast_signed() % 62_167_219_201 };
        assert_eq!(SegmentName::parse(&name.build()), Some(name));
    }
}

/// Requests to the daemon, and its replies.
pub fn command(data: &[u8]) {
    let verdict = command::read(data);
    for end in 0..data.len().min(2 * command::MAX_REQUEST) {
        let early = command::read(&data[..end]);
        assert!(early == Incoming::Unfinished || early == verdict, "a verdict that more bytes take back");
    }
    assert!(verdict != Incoming::Unfinished || data.len() < command::MAX_REQUEST, "more is kept than may be");
    let Some(reply) = std::str::from_utf8(data).ok().and_then(Reply::parse) else { return };
    let line = reply.line();
    assert_eq!(line.find('\n'), Some(line.len() - 1));
    assert_eq!(Reply::parse(&line), Some(reply));
}

/// Packets between the supervisor and its roles.
pub fn control(data: &[u8]) {
    let Some((&choice, packet)) = data.split_first() else { return };
    let mut fds = Vec::new();
    for _ in 0..choice % 5 {
        let Ok(null) = std::fs::File::open("/dev/null") else { return };
        fds.push(OwnedFd::from(null));
    }
    match choice / 5 % 5 {
        0 => exact(ToWriter::decode(packet, fds), packet),
        1 => exact(ToWorker::decode(packet, fds), packet),
        2 => exact(ToArchiver::decode(packet, fds), packet),
        4 => exact(ToExporter::decode(packet, fds), packet),
        _ => match ToSupervisor::decode(packet, fds) {
            // Text that is not UTF-8, or too long for a packet, is not kept as it is.
            Some(ToSupervisor::Failed { message: text, .. } | ToSupervisor::NotRotated(text))
                if text.contains('\u{fffd}') || text.len() > 1000 => {}
            Some(ToSupervisor::Segment { name, .. }) if name.contains('\u{fffd}') || name.len() > 1000 => {}
            Some(ToSupervisor::Guest(Guest { peer, connection, .. }))
                if peer.contains('\u{fffd}') || connection.contains('\u{fffd}') || packet.len() > 1000 => {}
            decoded => exact(decoded, packet),
        },
    }
}

fn exact<M: Message>(decoded: Option<M>, packet: &[u8]) {
    if let Some(message) = decoded {
        assert_eq!(message.encode().0, packet, "a packet that nobody sends was taken");
    }
}

/// Times and peers as an operator writes them.
pub fn select(data: &[u8]) {
    let mut input = Input(data);
    let bytes = input.take(17);
    let Ok(text) = std::str::from_utf8(input.rest()) else { return };
    if let Ok(stamp) = moment(text, 1_795_336_920_123_456) {
        assert_eq!(Stamp::parse(stamp.as_bytes()), Some(stamp));
    }
    let Ok(peer) = Peer::parse(text) else { return };
    let is_four = bytes.first().is_some_and(|&first| first & 1 == 0);
    let ip = match (is_four, bytes.get(1..5), bytes.get(1..17)) {
        (true, Some(&[a, b, c, d]), _) => IpAddr::from([a, b, c, d]),
        (_, _, Some(octets)) => {
            octets.try_into().map_or(IpAddr::from([0; 16]), |octets: [u8; 16]| IpAddr::from(octets))
        }
        _ => return,
    };
    let from = SocketAddr::from((ip, 7)).to_string();
    let record = Record {
        time: "2026-11-22T08:42:00.123456Z",
        peer: &from,
        subject: None,
        connection: "c",
        n: 1,
        message: Cow::Borrowed(b""),
    };
    let wanted = Selection { peer: Some(peer.clone()), ..Selection::default() }.wants(&record);
    if let Peer::Net(net, length) = peer {
        assert_eq!(wanted, agrees(net, length, ip), "{net}/{length}, {ip}");
    }
}

/// Bit by bit: whether the first `length` bits of both are the same.
fn agrees(net: IpAddr, length: u8, ip: IpAddr) -> bool {
    let bits = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let ip = match (net, ip.to_canonical()) {
        (IpAddr::V6(_), IpAddr::V4(ip)) => IpAddr::V6(ip.to_ipv6_mapped()),
        (_, ip) => ip,
    };
    let (net, ip) = (bits(net), bits(ip));
    net.len() == ip.len() && (0..usize::from(length)).all(|bit| (net[bit / 8] ^ ip[bit / 8]) >> (7 - bit % 8) & 1 == 0)
}

/// Input to be sent: its messages, however it is read.
pub fn cutter(data: &[u8]) {
    let mut input = Input(data);
    let separator = [b'\n', 0][usize::from(input.byte() & 1)];
    let mut sizes = input.some().iter();
    let mut rest = input.rest();
    let mut expected: Vec<&[u8]> = rest.split(|&byte| byte == separator).collect();
    expected.pop_if(|last| last.is_empty());
    let (mut cutter, mut found) = (Cutter::new(separator), Vec::new());
    while !rest.is_empty() {
        let count = sizes.next().map_or(rest.len(), |&size| usize::from(size)).min(rest.len());
        cutter.buffer().extend_from_slice(&rest[..count]);
        rest = &rest[count..];
        drain(&mut cutter, &mut found);
    }
    cutter.end();
    drain(&mut cutter, &mut found);
    assert_eq!((found, cutter.left()), (expected.iter().map(|message| message.to_vec()).collect(), (0, 0)));
}

fn drain(cutter: &mut Cutter, found: &mut Vec<Vec<u8>>) {
    while let Ok(Some(message)) = cutter.peek() {
        found.push(message.to_vec());
        cutter.take();
    }
}
