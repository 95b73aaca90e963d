//! The rows of `[tls]` and `[proxy]` in the table of keys.
use super::key::{Key, put};
use super::keys::{DAY, TEN_MILLISECONDS};
use super::limits::NETWORKS;
use super::networks::print as networks;
use super::print::{array, choice, pem, time};

/// What may be written for a PEM file.
const PEM: &str = r#"the path of a file, such as "/etc/echostored/tls.pem", or "credential:NAME" for one that systemd gives; "": none"#;

pub(super) const DOORS: &[Key] = &[
    Key {
        table: "tls",
        name: "listen",
        default: "[]",
        doc: "Addresses to listen at with TLS; not used for sockets that systemd passes",
        allowed: r#"an array of up to 64 different "IP:port" strings, none of them in server.listen"#,
        restart: None,
        set: |c, v| put(&mut c.tls.listen, v.addresses()),
        get: |c| array(&c.tls.listen),
    },
    Key {
        table: "tls",
        name: "certificate",
        default: r#""""#,
        doc: "The server's certificates, PEM, its own first",
        allowed: PEM,
        restart: None,
        set: |c, v| put(&mut c.tls.certificate, v.pem_or_none()),
        get: |c| pem(c.tls.certificate.as_ref()),
    },
    Key {
        table: "tls",
        name: "key",
        default: r#""""#,
        doc: "The private key of that certificate, PEM",
        allowed: PEM,
        restart: None,
        set: |c, v| put(&mut c.tls.key, v.pem_or_none()),
        get: |c| pem(c.tls.key.as_ref()),
    },
    Key {
        table: "tls",
        name: "client-ca",
        default: r#""""#,
        doc: "Whose certificates clients are to show, PEM; without it they are asked for none",
        allowed: PEM,
        restart: None,
        set: |c, v| put(&mut c.tls.client_ca, v.pem_or_none()),
        get: |c| pem(c.tls.client_ca.as_ref()),
    },
    Key {
        table: "tls",
        name: "client-certificate",
        default: r#""required""#,
        doc: "Whether a client without such a certificate is turned away",
        allowed: r#"one of "required", "optional""#,
        restart: None,
        set: |c, v| put(&mut c.tls.client_certificate, v.choice()),
        get: |c| choice(c.tls.client_certificate),
    },
    Key {
        table: "tls",
        name: "min-version",
        default: r#""1.2""#,
        doc: "The oldest version of TLS that is spoken",
        allowed: r#"one of "1.2", "1.3""#,
        restart: None,
        set: |c, v| put(&mut c.tls.min_version, v.choice()),
        get: |c| choice(c.tls.min_version),
    },
    Key {
        table: "tls",
        name: "handshake-timeout",
        default: r#""10s""#,
        doc: "A client that has not finished the handshake by then is closed",
        allowed: r#"a time from 10ms to 1d, such as "10s""#,
        restart: None,
        set: |c, v| put(&mut c.tls.handshake_timeout, v.time_between(TEN_MILLISECONDS..=DAY)),
        get: |c| time(c.tls.handshake_timeout),
    },
    Key {
        table: "proxy",
        name: "from",
        default: "[]",
        doc: "Connections from there must begin with a PROXY header, which names the real client",
        allowed: NETWORKS,
        restart: None,
        set: |c, v| put(&mut c.proxy.from, v.networks()),
        get: |c| networks(&c.proxy.from),
    },
    Key {
        table: "proxy",
        name: "header-timeout",
        default: r#""5s""#,
        doc: "A proxy that has not sent the header by then is closed",
        allowed: r#"a time from 10ms to 1d, such as "5s""#,
        restart: None,
        set: |c, v| put(&mut c.proxy.header_timeout, v.time_between(TEN_MILLISECONDS..=DAY)),
        get: |c| time(c.proxy.header_timeout),
    },
];
