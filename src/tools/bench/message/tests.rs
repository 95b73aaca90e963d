use super::*;

const NAME: Run = *b"abcdefgh";

fn block(framing: Framing, size: usize) -> Block {
    Block::new(Shape::new(framing, size).unwrap(), NAME)
}

/// Message by message, the slow way.
fn expected(framing: Framing, size: usize, connection: u64, number: u64) -> Vec<u8> {
    let shape = Shape::new(framing, size).unwrap();
    let id = format!("abcdefgh-{connection:05}-{number:012}").into_bytes();
    let filler = |at: usize| FILLER[(at * 7 + at / 62) % 62];
    let mut body: Vec<u8> = (0..shape.body().len()).map(filler).collect();
    let length = body.len().min(ID);
    body[..length].copy_from_slice(&id[ID - length..]);
    [framing.header(body.len()), body, framing.trailer().to_vec()].concat()
}

#[test]
fn any_part_of_the_stream_is_the_same_bytes() {
    for (framing, size) in [
        (Framing::Line, 1),
        (Framing::Line, 2),
        (Framing::Line, 27),
        (Framing::Line, 28),
        (Framing::Nul, 128),
        (Framing::OctetCounted, 2),
        (Framing::OctetCounted, 131),
        (Framing::LengthPrefixed, 4),
        (Framing::LengthPrefixed, 70_000),
        (Framing::Line, 300_000),
    ] {
        let mut block = block(framing, size);
        for first in [0, 7, 98, LOW_END - 3, 5 * LOW_END - 1] {
            let whole: Vec<u8> = (first..first + 12).flat_map(|n| expected(framing, size, 49, n)).collect();
            for (from, most) in [(0, size), (0, 3 * size), (size / 2, 2 * size + 1), (size - 1, 2), (size, 10 * size)] {
                let mut at = from;
                while at < from + most {
                    let begin = first * size as u64 + at as u64;
                    let part = block.stream(49, begin, from + most - at).to_vec();
                    assert!(!part.is_empty() && part == whole[at..at + part.len()], "{framing:?} {size} {first} {at}");
                    at += part.len();
                }
            }
        }
    }
}

#[test]
fn sizes_that_a_framing_has_and_has_not() {
    for size in 1..20_000 {
        assert_eq!(Shape::new(Framing::Line, size).unwrap().body(), 0..size - 1);
    }
    assert!(Shape::new(Framing::LengthPrefixed, 3).unwrap_err().contains("at least 4"));
    assert!(Shape::new(Framing::OctetCounted, 1).unwrap_err().contains("at least 2"));
    // "9 " and nine bytes are 11; "10 " and ten bytes are 13.
    assert!(Shape::new(Framing::OctetCounted, 12).unwrap_err().contains("11 or 13"));
    assert_eq!(Shape::new(Framing::OctetCounted, 13).unwrap().body(), 3..13);
    assert!(Shape::new(Framing::OctetCounted, 103).unwrap_err().contains("102 or 104"));
    assert!(Shape::new(Framing::Line, MAX_BODY + 1).is_ok());
    assert!(Shape::new(Framing::Line, MAX_BODY + 2).unwrap_err().contains("16 MiB"));
    for framing in [Framing::Line, Framing::Nul, Framing::OctetCounted, Framing::LengthPrefixed] {
        let least = Shape::least_with_id(framing);
        assert!(Shape::new(framing, least).unwrap().has_id() && !Shape::new(framing, least - 1).unwrap().has_id());
    }
}

#[test]
fn an_id_is_read_back() {
    let mut block = block(Framing::Line, 128);
    let message = block.stream(99_999, 128 * 123_456_789_012, 127).to_vec();
    assert_eq!(Id::of(&NAME, &message), Some(Id { connection: 99_999, number: 123_456_789_012 }));
    assert_eq!(Id::of(b"abcdefgx", &message), None);
    assert_eq!(Id::of(&NAME, &message[..ID - 1]), None);
    assert_eq!(Id::of(&NAME, b"abcdefgh-0000x-000000000000"), None);
}

#[test]
fn runs_have_names_of_their_own() {
    assert!(run(1) != run(2) && run(u64::MAX).iter().all(u8::is_ascii_alphanumeric));
}
