//! Reads the paths out of a source: enough of Rust's grammar for that, and no more.
use std::path::Path;

/// The source without comments and without what stands between quotes, up to its own tests.
pub fn code(source: &str) -> String {
    let source = source.split("#[cfg(test)]\nmod ").next().unwrap_or(source);
    let mut code = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let skip = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(length) = quoted(rest) {
            length
        } else {
            code.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        };
        code.push(' ');
        rest = &rest[skip..];
    }
    code
}

/// The length of the string or character literal that begins here.
fn quoted(rest: &str) -> Option<usize> {
    if let Some(inside) = rest.strip_prefix("r\"") {
        return Some(2 + inside.find('"').map_or(inside.len(), |end| end + 1));
    }
    if let Some(inside) = rest.strip_prefix("r#\"") {
        return Some(3 + inside.find("\"#").map_or(inside.len(), |end| end + 2));
    }
    let quote = rest.chars().next()?;
    let bytes = rest.as_bytes();
    // `'a` may begin a lifetime; a character ends in a quote.
    if quote != '"' && !(quote == '\'' && (bytes.get(1) == Some(&b'\\') || rest.chars().nth(2) == Some('\''))) {
        return None;
    }
    let mut at = 1;
    while at < bytes.len() && bytes[at] != quote as u8 {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    Some((at + 1).min(rest.len()))
}

/// `store/names.rs` → `[store, names]`; `store/mod.rs` → `[store]`.
pub fn module(path: &Path) -> Vec<String> {
    let mut parts: Vec<String> = path.with_extension("").iter().map(|part| part.to_str().unwrap().to_owned()).collect();
    if parts.last().is_some_and(|last| last == "mod") {
        parts.pop();
    }
    parts
}

/// All paths that begin with `crate::`, `super::`, `echostored::` or `std::`, in full; groups are taken apart.
pub fn paths(module: &[String], code: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let word = |c: char| c.is_alphanumeric() || c == '_';
    for (start, _) in code.match_indices("::") {
        let head_start = code[..start].rfind(|c: char| !word(c)).map_or(0, |at| at + 1);
        let head = &code[head_start..start];
        if code[..head_start].ends_with("::") {
            continue;
        }
        let prefix: Vec<String> = match head {
            "crate" | "echostored" => Vec::new(),
            "std" | "libc" => vec![head.to_owned()],
            "super" => module[..module.len().saturating_sub(1)].to_vec(),
            _ => continue,
        };
        tree(prefix, &code[start + 2..], &mut found);
    }
    found
}

/// Follows one `use` tree from behind a `::`; gives the rest of the text behind it.
fn tree<'a>(mut prefix: Vec<String>, mut rest: &'a str, found: &mut Vec<Vec<String>>) -> &'a str {
    loop {
        rest = rest.trim_start();
        if let Some(mut inside) = rest.strip_prefix('{') {
            loop {
                inside = tree(prefix.clone(), inside, found).trim_start();
                match inside.strip_prefix(',') {
                    Some(more) => inside = more,
                    None => return inside.strip_prefix('}').unwrap_or(""),
                }
            }
        }
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        match &rest[..end] {
            "" => {}
            "super" => drop(prefix.pop()),
            "self" => {}
            name => prefix.push(name.to_owned()),
        }
        rest = &rest[end..];
        match rest.strip_prefix("::") {
            Some(more) => rest = more,
            None => break,
        }
    }
    found.push(prefix);
    // `as name` belongs to the tree.
    rest.trim_start()
        .strip_prefix("as ")
        .map_or(rest, |more| more.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_'))
}
