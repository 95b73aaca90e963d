//! What the writer of an unknown key or table may have meant. Never more than a hint: nothing is corrected silently.
use super::error::excerpt;
use super::keys::{KEYS, TABLES};

/// What to say of an unknown key of a known table.
pub(super) fn unknown_key(table: &str, name: &str) -> String {
    let names: Vec<&str> = KEYS.iter().filter(|key| key.table == table).map(|key| key.name).collect();
    let meant = tidy(name);
    let hint = if names.contains(&meant.as_str()) {
        Some(format!("\"{meant}\""))
    } else if let Some(key) = KEYS.iter().find(|key| key.name == meant) {
        Some(format!("\"{}\" of [{}]", key.name, key.table))
    } else {
        nearest(&meant, &names).map(|near| format!("\"{near}\""))
    };
    format!("unknown key: {}[{table}] may hold {}", did_you_mean(hint), names.join(", "))
}

/// What to say of an unknown name at the top of the file: a table's, or a key's outside its table.
pub(super) fn unknown_at_top(name: &str, is_table: bool) -> String {
    let what = if is_table { "table" } else { "key" };
    let meant = tidy(name);
    let hint = if let Some(key) = KEYS.iter().find(|key| key.name == meant) {
        Some(format!("\"{}\" of [{}]", key.name, key.table))
    } else {
        nearest(&meant, TABLES).map(|near| format!("[{near}]"))
    };
    let tables: Vec<String> = TABLES.iter().map(|table| format!("[{table}]")).collect();
    format!("unknown {what}: {}there may be {}", did_you_mean(hint), tables.join(", "))
}

fn did_you_mean(hint: Option<String>) -> String {
    hint.map(|hint| format!("did you mean {hint}? ")).unwrap_or_default()
}

/// Keys are kebab-case; snake_case and capitals are the usual slips.
fn tidy(name: &str) -> String {
    name.trim().to_lowercase().replace('_', "-")
}

/// The known name that is one or two typing errors away; `None` if all are further.
fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let (distance, near) = known.iter().map(|known| (strsim::damerau_levenshtein(name, known), *known)).min()?;
    (distance <= (near.len() / 3).clamp(1, 2)).then_some(near)
}

/// A key as TOML writes it: bare where it can be, else quoted and harmless.
pub(super) fn key_text(name: &str) -> String {
    let bare = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if bare && name.len() <= 48 { name.to_owned() } else { format!("\"{}\"", excerpt(name)) }
}
