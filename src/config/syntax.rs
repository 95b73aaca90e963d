//! Faults of the grammar, told like all others: the parser gives a place and a few words, this finds the key.
use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::error::{Fault, position};
use super::hints::key_text;
use super::keys::KEYS;

/// `error` as a fault. `document` is what the parser could make of `text` in spite of it.
pub(super) fn syntax_fault(error: &toml::de::Error, document: &DeTable<'_>, text: &str) -> Fault {
    let span = error.span().unwrap_or(text.len()..text.len());
    if error.message() == "duplicate key" {
        return duplicate(document, text, span);
    }
    let key = around(document, span.start, "").or_else(|| before(document, text, span.start)).unwrap_or_default();
    let words = words(error.message(), span.is_empty());
    let allowed = KEYS.iter().find(|known| known.dotted() == key).map(|known| known.allowed);
    let problem = match allowed {
        // Two things expected would be one too many.
        Some(allowed) if !words.contains(", expected") => {
            format!("not valid TOML ({words}): expected {allowed}")
        }
        _ => format!("not valid TOML: {words}"),
    };
    Fault { at: span.start, key, problem }
}

fn duplicate(document: &DeTable<'_>, text: &str, span: Range<usize>) -> Fault {
    let name = text.get(span.clone()).unwrap_or_default().trim_matches(['"', '\'']);
    let (first, key) = last_of_name(document, name, span.start).unwrap_or_else(|| (span.start, key_text(name)));
    let problem = if first < span.start {
        format!("given twice, first in line {}: expected once", position(text, first).0)
    } else {
        "given twice: expected once".to_owned()
    };
    Fault { at: span.start, key, problem }
}

/// The parser's words, on one line, the least helpful ones put better.
fn words(message: &str, nothing_there: bool) -> String {
    if message.starts_with("string values must be quoted") {
        return if nothing_there { "the value is missing" } else { "strings must be quoted" }.to_owned();
    }
    message.trim_end_matches(", expected nothing").replace(|c: char| c.is_control(), " ")
}

/// The key whose entry holds `at`; the deepest wins.
fn around(table: &DeTable<'_>, at: usize, path: &str) -> Option<String> {
    table.iter().find_map(|(name, value)| {
        let dotted = join(path, name.get_ref());
        let inner = value.get_ref().as_table().and_then(|inner| around(inner, at, &dotted));
        let holds = name.span().start <= at && at <= value.span().end.max(name.span().end);
        inner.or_else(|| (holds && !path.is_empty()).then_some(dotted))
    })
}

/// The key that begins the line of `at`, where the parser has dropped it, in the table whose header stands last before.
fn before(document: &DeTable<'_>, text: &str, at: usize) -> Option<String> {
    let line = text.get(..at)?.rsplit('\n').next()?.trim_start();
    let end = line.find(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_')).unwrap_or(line.len());
    let name = line.get(..end).filter(|name| !name.is_empty())?;
    let headers =
        document.iter().filter(|(_, value)| text.get(value.span()).is_some_and(|header| header.starts_with('[')));
    let last = headers.filter(|(name, _)| name.span().start < at).max_by_key(|(name, _)| name.span().start);
    Some(last.map_or_else(|| key_text(name), |(table, _)| join(&key_text(table.get_ref()), name)))
}

/// Where the last entry of that name that begins at or before `at` stands, and its key: what a duplicate repeats.
fn last_of_name(table: &DeTable<'_>, wanted: &str, at: usize) -> Option<(usize, String)> {
    let mut best: Option<(usize, String)> = None;
    walk(table, "", &mut |name, start, dotted| {
        if name == wanted && start <= at && best.as_ref().is_none_or(|(found, _)| *found <= start) {
            best = Some((start, dotted.to_owned()));
        }
    });
    best
}

fn walk(table: &DeTable<'_>, path: &str, see: &mut impl FnMut(&str, usize, &str)) {
    for (name, value) in table {
        let dotted = join(path, name.get_ref());
        see(name.get_ref(), name.span().start, &dotted);
        if let DeValue::Table(inner) = value.get_ref() {
            walk(inner, &dotted, see);
        }
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { key_text(name) } else { format!("{path}.{}", key_text(name)) }
}
