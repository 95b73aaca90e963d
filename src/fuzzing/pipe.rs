//! What a broken-into worker may put into its data pipe, and what comes down an ack pipe.
use super::Input;
use crate::ipc::commit::Mark;
use crate::ipc::link::Terms;
use crate::protocol::ack;
use crate::protocol::frame::{Header, Kind};
use crate::writer::intake::{Frame, stale, whole_frames};
use std::collections::VecDeque;

const SECRET: u64 = u64::from_le_bytes(*b"a secret");

/// Terms and mark, a place to cut, then a stream of frames, right ones and wrong ones.
pub fn pipe_frame(data: &[u8]) {
    let mut input = Input(data);
    let frame_limit = 33 + usize::from(input.byte()) * 4;
    let record_limit = 1 + usize::from(input.byte()) * 8;
    let terms = Terms { id: 1, secret: SECRET, frame_limit, record_limit };
    let flags = input.byte();
    let (through, staged) = (u64::from(input.byte()), u64::from(input.byte() % 64).min(record_limit as u64));
    let mark = Mark { id: 1, through, staged, refused_from: u64::from(flags & 1) };
    let cut = input.place_in(2048);
    let stream = stream(&mut input, through + 1, staged);
    let cut = cut.min(stream.len());

    let Ok(skipped) = stale(&stream, &terms, mark) else { return };
    check_stale(&stream, skipped, through + 1);
    // However the pipe is looked at, the same is skipped.
    if let Ok(first) = stale(&stream[..cut], &terms, mark) {
        assert_eq!(stale(&stream[first..], &terms, mark).map(|second| first + second), Ok(skipped));
    }

    let bytes = &stream[skipped..];
    let (mut frames, mut part) = (VecDeque::new(), VecDeque::new());
    let verdict = whole_frames(bytes, &terms, mark, &mut frames);
    check_frames(bytes, &frames, &terms, mark);
    let early = whole_frames(&bytes[..cut.min(bytes.len())], &terms, mark, &mut part);
    assert!(early.is_ok() || early == verdict, "a verdict that more bytes take back");
    assert!(part.iter().zip(&frames).all(|(one, other)| (one.header, one.at) == (other.header, other.at)));
    assert!(part.len() <= frames.len());
}

/// A stream as the input says: frames with headers that are right but for what it changes in them, and bare bytes.
fn stream(input: &mut Input<'_>, first: u64, staged: u64) -> Vec<u8> {
    let (mut stream, mut sequence, mut offset) = (Vec::new(), first, u32::try_from(staged).unwrap_or(0));
    while !input.is_empty() && stream.len() < 2048 {
        let choice = input.byte();
        if choice >= 0xf0 {
            stream.extend_from_slice(input.some());
            continue;
        }
        let mut body = input.some().to_vec();
        let kind = [Kind::Records, Kind::Fragment, Kind::LastFragment][usize::from(choice & 3) % 3];
        if kind != Kind::Fragment && choice & 4 == 0 {
            body.push(b'\n');
        }
        let length = u32::try_from(body.len()).unwrap_or(0);
        let records = match kind {
            Kind::Records => u32::from(choice >> 6) + 1,
            Kind::Fragment => 0,
            Kind::LastFragment => 1,
        };
        let at = if kind == Kind::Records { 0 } else { offset };
        let (fresh, promised) = (choice & 8 != 0, choice & 16 != 0);
        let mut header =
            Header { sequence, length, records, kind, offset: at, fresh, promised }.encode(SECRET).to_vec();
        if choice & 32 != 0 {
            let place = usize::from(input.byte()) % header.len();
            header[place] ^= input.byte();
        }
        stream.extend_from_slice(&header);
        stream.extend_from_slice(&body);
        sequence += 1;
        offset = if kind == Kind::Fragment { offset + length } else { 0 };
    }
    stream
}

/// What is left begins with the mark of `next`, or with what may become it.
fn check_stale(stream: &[u8], skipped: usize, next: u64) {
    let mark = [SECRET.to_le_bytes(), next.to_le_bytes()].concat();
    let left = &stream[skipped..];
    assert!(left.starts_with(&mark) || mark.starts_with(left), "skipped to where no frame begins");
    assert!(memchr::memmem::find(&stream[..skipped], &mark).is_none(), "skipped the frame to come");
}

/// Each frame's bytes are those of its header, and no fragment is out of place.
fn check_frames(bytes: &[u8], frames: &VecDeque<Frame>, terms: &Terms, mark: Mark) {
    let (mut end, mut fragment, mut refusing) = (0, mark.staged, mark.refused_from > 0);
    for (frame, sequence) in frames.iter().zip(mark.through + 1..) {
        let Header { kind, length, offset, fresh, .. } = frame.header;
        assert_eq!((frame.header.sequence, frame.at), (sequence, end + 32));
        assert_eq!(frame.header.encode(SECRET), bytes[end..end + 32]);
        let body = frame.body(bytes);
        assert!(!body.is_empty() && body.len() == length as usize && 32 + body.len() <= terms.frame_limit);
        end = frame.at + body.len();
        refusing &= !fresh;
        if refusing {
            continue;
        }
        assert!(kind == Kind::Fragment || body.ends_with(b"\n"));
        assert!(kind == Kind::Records || u64::from(offset) + u64::from(length) <= terms.record_limit as u64);
        assert_eq!(u64::from(offset), fragment, "a fragment out of place");
        fragment = if kind == Kind::Fragment { fragment + u64::from(length) } else { 0 };
    }
}

/// Acks in their order, up to what is none.
pub fn ack(data: &[u8]) {
    let acks: Vec<_> = ack::decode(data).collect();
    let bytes = acks.iter().flat_map(|ack| ack.encode()).collect::<Vec<_>>();
    assert!(data.starts_with(&bytes), "an ack that nobody sent");
    let next = data[bytes.len()..].first_chunk::<{ ack::ACK }>();
    assert!(next.is_none_or(|next| ack::decode(next).count() == 0), "an ack was passed over");
}
