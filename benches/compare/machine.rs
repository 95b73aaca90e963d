//! What the figures were measured on, and with.
use crate::places::{Place, Places};
use crate::servers::find_program;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Names of machine and versions, each with its value.
pub fn describe(binary: &Path, places: &Places) -> Vec<(&'static str, String)> {
    let line = |path: &str| fs::read_to_string(path).unwrap_or_default().lines().next().unwrap_or("unknown").to_owned();
    let version = |name: &str| find_program(name).map_or_else(|| "not installed".to_owned(), |path| said(&path, "-v"));
    let stores = [Place::Memory, Place::Disk]
        .map(|place| format!("{} on {}", places.path(place).display(), places.file_system(place)));
    vec![
        ("processor", processor(&fs::read_to_string("/proc/cpuinfo").unwrap_or_default())),
        ("kernel", line("/proc/sys/kernel/osrelease")),
        ("load before", line("/proc/loadavg")),
        ("stores", stores.join("; ")),
        ("echostored", said(binary, "--version")),
        ("rsyslog", version("rsyslogd")),
        ("Redis", version("redis-server")),
    ]
}

/// The same for JSON.
pub fn to_json(described: &[(&'static str, String)]) -> Value {
    described.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect::<serde_json::Map<_, _>>().into()
}

/// How many of which kind.
fn processor(cpuinfo: &str) -> String {
    let value = |line: &str| line.split_once(':').map(|(_, value)| value.trim().to_owned());
    let count = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
    let model = cpuinfo.lines().find(|line| line.starts_with("model name")).and_then(value);
    format!("{count} × {}", model.unwrap_or_else(|| std::env::consts::ARCH.to_owned()))
}

/// The first line that a program says of itself.
fn said(program: &Path, option: &str) -> String {
    match Command::new(program).arg(option).output() {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout);
            text.lines().next().unwrap_or("says nothing").trim_end_matches(" compiled with:").to_owned()
        }
        Err(error) => format!("cannot be asked: {error}"),
    }
}

#[cfg(test)]
#[allow(dead_code, unused_imports, reason = "run by tests/benches.rs; a program without a harness only compiles them")]
mod tests {
    use super::*;

    #[test]
    fn processors_are_counted() {
        let text = "processor\t: 0\nmodel name\t: Fast (R) 1: x\nprocessor\t: 1\nmodel name\t: Fast (R) 1: x\n";
        assert_eq!(processor(text), "2 × Fast (R) 1: x");
        assert!(processor("").starts_with("0 × "));
    }
}
