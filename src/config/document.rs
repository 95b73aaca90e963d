//! What the file says: TOML with positions, each key looked up in the table and read by its rule. Of several faults
//! the first in the file is told. Must never let a key pass unread: what is unknown is an error.
use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, Fault, shown};
use super::hints::{key_text, unknown_at_top, unknown_key};
use super::keys::{KEYS, TABLES};
use super::read::Given;
use super::syntax::syntax_fault;
use super::types::{Choice, Config, Control, Format, Framing, Listen};

/// The pure core: what `text` means. `file` is only for error texts; relative paths start from `cwd`, which is absolute.
///
/// # Errors
/// [`ConfigError::Invalid`], of several faults the first in `text`.
pub fn parse(text: &str, file: &Path, cwd: &Path) -> Result<Config, ConfigError> {
    read(text, cwd).map_err(|fault| fault.locate(text, file))
}

fn read(text: &str, cwd: &Path) -> Result<Config, Fault> {
    let (document, errors) = DeTable::parse_recoverable(text);
    let document = document.get_ref();
    let mut syntax: Vec<Fault> = errors.iter().map(|e| syntax_fault(e, document, text)).collect();
    if !syntax.is_empty() {
        syntax.sort_by_key(|fault| fault.at);
        return Err(syntax.swap_remove(0));
    }
    let mut config = Config::default();
    let mut faults = Vec::new();
    for (name, value) in document {
        let table = name.get_ref().as_ref();
        if !TABLES.contains(&table) {
            faults.push(Fault {
                at: name.span().start,
                key: key_text(table),
                problem: unknown_at_top(table, value.get_ref().is_table()),
            });
        } else if let DeValue::Table(entries) = value.get_ref() {
            read_table(table, entries, Source { text, cwd }, &mut config, &mut faults);
        } else {
            let problem = format!("invalid value {}: expected a table, [{table}]", shown(text, value.span()));
            faults.push(Fault { at: value.span().start, key: table.to_owned(), problem });
        }
    }
    if faults.is_empty() {
        faults.extend(contradiction(&config, document));
    }
    match faults.into_iter().min_by_key(|fault| fault.at) {
        Some(fault) => Err(fault),
        None => Ok(config),
    }
}

/// `control.socket` of a file that may have mistakes elsewhere: a command must still find the daemon. `None`: it
/// cannot be told what the file says of it.
pub(super) fn socket(text: &str, cwd: &Path) -> Option<Control> {
    let (document, errors) = DeTable::parse_recoverable(text);
    let table = document.get_ref().iter().find(|(name, _)| name.get_ref() == "control");
    let mut control = Config::default();
    match table.map(|(_, value)| value.get_ref()) {
        Some(DeValue::Table(entries)) if entries.iter().any(|(name, _)| name.get_ref() == "socket") => {
            read_table("control", entries, Source { text, cwd }, &mut control, &mut Vec::new());
            let empty = entries.iter().any(|(_, value)| value.get_ref().as_str() == Some(""));
            (control.control.socket.is_some() || empty).then_some(control.control)
        }
        // What cannot be read may be hidden behind an error.
        _ => errors.is_empty().then(Control::default),
    }
}

#[derive(Clone, Copy)]
struct Source<'a> {
    text: &'a str,
    cwd: &'a Path,
}

fn read_table(table: &str, entries: &DeTable<'_>, source: Source<'_>, config: &mut Config, faults: &mut Vec<Fault>) {
    for (name, value) in entries {
        let dotted = format!("{table}.{}", key_text(name.get_ref()));
        let Some(key) = KEYS.iter().find(|key| key.table == table && key.name == name.get_ref()) else {
            faults.push(Fault { at: name.span().start, key: dotted, problem: unknown_key(table, name.get_ref()) });
            continue;
        };
        if let Err(refused) = (key.set)(config, &Given { value, cwd: source.cwd }) {
            let span = refused.span.unwrap_or_else(|| value.span());
            let why = refused.why.map(|why| format!(" ({why})")).unwrap_or_default();
            let problem = format!("invalid value {}{why}: expected {}", shown(source.text, span.clone()), key.allowed);
            faults.push(Fault { at: span.start, key: dotted, problem });
        }
    }
}

/// What two keys must agree on. What is not a default stands in the file.
fn contradiction(config: &Config, document: &DeTable<'_>) -> Option<Fault> {
    let fault = |table: &str, name: &str, problem: String| {
        let value = document.get(table)?.get_ref().get(name)?;
        Some(Fault { at: value.span().start, key: format!("{table}.{name}"), problem })
    };
    let raw = raw_with_lines(config).and_then(|problem| fault("store", "format", problem));
    let tls = || {
        let (name, problem) = tls_that_works(config)?;
        let table = if name == "listen" && config.tls.listen.is_empty() { "server" } else { "tls" };
        fault(table, name, problem)
    };
    raw.or_else(tls).or_else(|| fault("metrics", "listen", metrics_apart(config)?))
}

/// Messages and metrics are not spoken at one address.
fn metrics_apart(config: &Config) -> Option<String> {
    let address = config.metrics.listen.filter(|address| address.port() != 0)?;
    let table = match () {
        () if config.server.listen.contains(&Listen::Inet(address)) => "server",
        () if config.tls.listen.contains(&address) => "tls",
        () => return None,
    };
    Some(format!("{address} stands in {table}.listen, too: an address is for one of them"))
}

/// The key of `[tls]` (or `server.listen`) at fault, and why.
fn tls_that_works(config: &Config) -> Option<(&'static str, String)> {
    let tls = &config.tls;
    let plain = |address| config.server.listen.contains(&Listen::Inet(address));
    let both = tls.listen.iter().find(|address| plain(**address));
    match (&tls.certificate, &tls.key) {
        _ if config.server.listen.is_empty() && tls.listen.is_empty() => {
            Some(("listen", "invalid value []: nowhere to listen; tls.listen is empty, too".to_owned()))
        }
        _ if both.is_some() => {
            let address = both.map(ToString::to_string).unwrap_or_default();
            Some(("listen", format!("{address} stands in server.listen, too: an address is for one of them")))
        }
        (Some(_), None) => Some(("certificate", "needs tls.key, the private key of the certificate".to_owned())),
        (None, Some(_)) => Some(("key", "needs tls.certificate, whose private key it is".to_owned())),
        (None, None) if !tls.listen.is_empty() => Some(("listen", "needs tls.certificate and tls.key".to_owned())),
        (None, None) if tls.client_ca.is_some() => Some(("client-ca", "needs tls.certificate and tls.key".to_owned())),
        _ => None,
    }
}

fn raw_with_lines(config: &Config) -> Option<String> {
    if config.store.format != Format::Raw || config.server.framing == Framing::Line {
        return None;
    }
    Some(format!(
        "invalid value \"raw\" with server.framing = \"{}\": raw needs \"line\", since only a line holds no line end; \
         else use \"text\" or \"jsonl\"",
        config.server.framing.name()
    ))
}
