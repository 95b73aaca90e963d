//! The framing rules once more, for a whole input at once: written apart from the decoder, to check it.
use super::{Outcome, Step};
use crate::config::{Framing, OnOversize};

/// Cuts the input into frames, then looks at each body.
pub fn reference(framing: Framing, max: usize, mode: OnOversize, input: &[u8]) -> Outcome {
    let mut result = Outcome { messages: Vec::new(), consumed: 0, end: Step::End };
    while result.consumed < input.len() {
        let rest = &input[result.consumed..];
        let frame = match framing {
            Framing::Line => delimited(rest, b'\n'),
            Framing::Nul => delimited(rest, 0),
            Framing::LengthPrefixed => length_prefixed(rest),
            _ => octet_counted(rest),
        };
        let (header, length, whole) = match frame {
            Ok(frame) => frame,
            Err(end) => {
                result.end = end;
                return result;
            }
        };
        if length > max && mode == OnOversize::Close {
            result.end = Step::Oversize;
            return result;
        }
        if rest.len() < whole {
            // Only a counted frame can be cut short. Of one that is split, the whole parts that came stay.
            let came = rest.len().saturating_sub(header);
            let parts = if length > max { came / max } else { 0 };
            if parts > 0 {
                let body = &rest[header..header + parts * max];
                result.messages.extend(body.chunks(max).map(<[u8]>::to_vec));
                result.consumed += header + parts * max;
            }
            result.end = Step::Incomplete;
            return result;
        }
        let body = &rest[header..header + length];
        result.messages.extend(body.chunks(max).map(<[u8]>::to_vec));
        if body.is_empty() {
            result.messages.push(Vec::new());
        }
        result.consumed += whole;
    }
    result
}

/// Header, body and whole frame in bytes.
type Frame = Result<(usize, usize, usize), Step>;

fn delimited(rest: &[u8], delimiter: u8) -> Frame {
    let frame = rest.split_inclusive(|&b| b == delimiter).next().unwrap();
    let body = match frame.strip_suffix(&[delimiter]) {
        Some(body) if delimiter == b'\n' => body.strip_suffix(b"\r").unwrap_or(body),
        Some(body) => body,
        None => frame,
    };
    Ok((0, body.len(), frame.len()))
}

fn length_prefixed(rest: &[u8]) -> Frame {
    let header = rest.get(..4).ok_or(Step::Incomplete)?;
    let length = header.iter().fold(0, |sum, &b| sum * 256 + usize::from(b));
    Ok((4, length, 4 + length))
}

fn octet_counted(rest: &[u8]) -> Frame {
    let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
    let text = std::str::from_utf8(&rest[..digits]).unwrap();
    let broken = digits > 10 || (digits > 1 && text.starts_with('0'));
    match rest.get(digits) {
        _ if broken => Err(Step::Malformed("")),
        Some(b' ') if digits > 0 => {
            let length = text.parse::<usize>().unwrap();
            Ok((digits + 1, length, digits + 1 + length))
        }
        Some(_) => Err(Step::Malformed("")),
        None => Err(Step::Incomplete),
    }
}
