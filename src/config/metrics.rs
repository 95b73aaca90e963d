//! The row of `[metrics]` in the table of keys.
use super::key::{Key, put};
use super::print::quoted;

pub(super) const METRICS: &[Key] = &[Key {
    table: "metrics",
    name: "listen",
    default: r#""""#,
    doc: "The address at which Prometheus reads metrics; whoever reaches it reads them, so mind who can; port 0: the kernel chooses",
    allowed: r#"one "IP:port" string, such as "127.0.0.1:9464" or "[::1]:9464", not in server.listen or tls.listen; "": none"#,
    restart: None,
    set: |c, v| put(&mut c.metrics.listen, v.address_or_none()),
    get: |c| quoted(&c.metrics.listen.map(|address| address.to_string()).unwrap_or_default()),
}];
