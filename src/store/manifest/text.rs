//! The text of a manifest's lines around what they say: the chain, and what a power cut leaves of a line.
//!
//! Pure; bytes come from disks: must never panic, whatever they are.
use super::{Line, NO_CHAIN};

const CHAIN_KEY: &str = r#","chain":""#;
const AFTER_KEY: &str = r#","after":""#;
const END: &[u8] = br#""}"#;
const KINDS: [&str; 6] =
    [r#"{"seal":""#, r#"{"packed":""#, r#"{"pruned":""#, r#"{"gone":""#, r#"{"failed":""#, r#"{"anchor":"#];

/// A line, taken apart.
pub(super) struct Chained<'a> {
    pub(super) line: Line,
    /// What its chain covers beside the chain before it.
    pub(super) body: &'a [u8],
    /// Its chain, as it says.
    pub(super) chain: &'a str,
    /// In an anchor: the chain of the last line that was folded into it.
    pub(super) after: Option<&'a str>,
}

/// The chain of a line with this body.
pub(super) fn chain(before: &str, body: &[u8]) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(before.as_bytes()).update(body);
    hasher.finalize().to_hex().to_string()
}

/// Turns the JSON object that begins at `start` and ends `text` into a line with its chain, which is returned; `is_anchor`: it
/// says what is `before` it, too.
pub(super) fn set_chain(text: &mut Vec<u8>, start: usize, before: &str, is_anchor: bool) -> String {
    text.pop();
    if is_anchor {
        text.extend_from_slice(AFTER_KEY.as_bytes());
        text.extend_from_slice(before.as_bytes());
        text.push(b'"');
    }
    let chain = chain(before, &text[start..]);
    text.extend_from_slice(CHAIN_KEY.as_bytes());
    text.extend_from_slice(chain.as_bytes());
    text.extend_from_slice(END);
    text.push(b'\n');
    chain
}

/// A line without its LF; whether its chain is right is not looked at.
pub(super) fn parse_chained(text: &[u8]) -> Option<Chained<'_>> {
    let line = Line::parse(text)?;
    let (body, chain) = split(text.strip_suffix(END)?, CHAIN_KEY)?;
    let after = match line {
        Line::Anchor(_) => Some(split(body.strip_suffix(b"\"")?, AFTER_KEY)?.1),
        _ => None,
    };
    Some(Chained { line, body, chain, after })
}

/// What is before `key` and a hash, and the hash.
fn split<'a>(text: &'a [u8], key: &str) -> Option<(&'a [u8], &'a str)> {
    let (head, hash) = text.split_at_checked(text.len().checked_sub(NO_CHAIN.len())?)?;
    Some((head.strip_suffix(key.as_bytes())?, std::str::from_utf8(hash).ok()?))
}

/// Whether it may be what a power cut has left of a line: the beginning of one, or less, and zeros where the file system
/// knew the length only.
pub(super) fn is_torn(text: &[u8]) -> bool {
    let zeros = text.iter().rev().take_while(|&&byte| byte == 0).count();
    let text = &text[..text.len() - zeros];
    let begins = KINDS.iter().any(|kind| {
        let common = kind.len().min(text.len());
        text[..common] == kind.as_bytes()[..common]
    });
    let is_printable = text.iter().all(|byte| (b' '..=b'~').contains(byte));
    // The one brace of a line is its end.
    (zeros > 0 || !text.is_empty()) && begins && is_printable && !text.contains(&b'}')
}

/// Whether what has no LF at its end holds a whole line nevertheless, and more: no power cut does that.
pub(super) fn ended_early(text: &[u8]) -> bool {
    let end =
        memchr::memmem::find(text, CHAIN_KEY.as_bytes()).map(|at| at + CHAIN_KEY.len() + NO_CHAIN.len() + END.len());
    end.is_some_and(|end| text.len() > end && parse_chained(&text[..end]).is_some())
}
