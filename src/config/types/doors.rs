//! Where clients come in: places, TLS, proxies.
use super::Choice;
use ipnet::IpNet;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// A place to listen at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// An address and a port of TCP.
    Inet(SocketAddr),
    /// The absolute path of a Unix stream socket.
    Unix(PathBuf),
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// `[tls]`: clients that come encrypted. [`certificate`](Self::certificate) and [`key`](Self::key) are there if `listen` is
/// not empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Addresses to listen at, up to 64, none of them in [`Server::listen`]. Default: none.
    pub listen: Vec<SocketAddr>,
    /// The chain of certificates, PEM, the server's first.
    pub certificate: Option<Pem>,
    /// The private key of the first, PEM.
    pub key: Option<Pem>,
    /// Whose certificates clients may show, PEM. `None`: clients are not asked for one (default).
    pub client_ca: Option<Pem>,
    /// Whether they must. Default: [`ClientCertificate::Required`].
    pub client_certificate: ClientCertificate,
    /// The oldest version that is spoken. Default: [`TlsVersion::V1_2`].
    pub min_version: TlsVersion,
    /// From accept to the end of the handshake; 10 ms to 1 d. Default: 10 s.
    pub handshake_timeout: Duration,
}

/// Where a PEM file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pem {
    /// Absolute.
    File(PathBuf),
    /// A file of that name in `$CREDENTIALS_DIRECTORY` (systemd.exec(5), `LoadCredential=`).
    Credential(String),
}

impl fmt::Display for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Credential(name) => write!(f, "credential:{name}"),
        }
    }
}

/// `tls.client-certificate`: what a client without a certificate of `tls.client-ca` may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificate {
    /// Nothing: the handshake fails.
    Required,
    /// All, without a name.
    Optional,
}

/// `tls.min-version`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVersion {
    /// RFC 5246.
    V1_2,
    /// RFC 8446.
    V1_3,
}

/// `[proxy]`: whose word on a client's address is taken (the PROXY protocol, versions 1 and 2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// Connections from there must begin with a PROXY header; from elsewhere none is looked for. Default: none.
    pub from: Vec<IpNet>,
    /// From accept to the header's end; 10 ms to 1 d. Default: 5 s.
    pub header_timeout: Duration,
}

impl Choice for ClientCertificate {
    const NAMES: &'static [(&'static str, Self)] = &[("required", Self::Required), ("optional", Self::Optional)];
}

impl Choice for TlsVersion {
    const NAMES: &'static [(&'static str, Self)] = &[("1.2", Self::V1_2), ("1.3", Self::V1_3)];
}
