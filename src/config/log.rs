//! The rows of `[log]` in the table of keys.
use super::key::{Key, put};
use super::print::choice;

pub(super) const LOG: &[Key] = &[
    Key {
        table: "log",
        name: "level",
        default: r#""info""#,
        doc: "The least important level that is logged",
        allowed: r#"one of "error", "warn", "notice", "info", "debug""#,
        restart: None,
        set: |c, v| put(&mut c.log.level, v.choice()),
        get: |c| choice(c.log.level),
    },
    Key {
        table: "log",
        name: "format",
        default: r#""text""#,
        doc: "How a line is written: for people (under systemd with the journal's fields), or as a JSON object",
        allowed: r#"one of "text", "json""#,
        restart: None,
        set: |c, v| put(&mut c.log.format, v.choice()),
        get: |c| choice(c.log.format),
    },
    Key {
        table: "log",
        name: "access",
        default: "false",
        doc: "Whether each connection is logged when it is opened and when it is closed, at level info",
        allowed: "true or false",
        restart: None,
        set: |c, v| put(&mut c.log.access, v.yes_or_no()),
        get: |c| c.log.access.to_string(),
    },
];
