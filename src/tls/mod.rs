//! TLS: the door of rustls. What the daemon is to those who speak it ([`Server`]), and one conversation ([`Session`]).
//!
//! Promise: bytes in, bytes out; no socket is touched here, and no file after [`Server::load`]. A private key is in the memory
//! of the supervisor, and so of all that it forks.
mod client;
mod session;
pub(crate) mod subject;

pub use client::{Client, Conversation};
pub use session::{Broken, Session};

use crate::config::{ClientCertificate, Pem, Tls, TlsVersion};
use crate::exit::{self, Fatal};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;

const KEY: &str = "tls.key";
/// More than any chain of certificates has.
const PEM_MAX: u64 = 1 << 20;

/// What the daemon is to those who speak TLS: its certificate, its key, and whose certificates it accepts.
#[derive(Clone, Debug)]
pub struct Server(Arc<ServerConfig>);

impl Server {
    /// Reads the files that `tls` names; `None` if it names none.
    ///
    /// # Errors
    /// Exit 78: a file cannot be read, or does not hold what it should.
    pub fn load(tls: &Tls) -> Result<Option<Self>, Fatal> {
        let (Some(certificate), Some(key)) = (&tls.certificate, &tls.key) else { return Ok(None) };
        let chain = certificates("tls.certificate", certificate)?;
        let bytes = read(KEY, key)?;
        let secret = PrivateKeyDer::from_pem_slice(&bytes)
            .map_err(|error| wrong(KEY, key, format_args!("no private key is in it: {error}")))?;
        let versions: &[_] = match tls.min_version {
            TlsVersion::V1_2 => &[&TLS13, &TLS12],
            TlsVersion::V1_3 => &[&TLS13],
        };
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .map_err(|error| Fatal::system("set up TLS", error))?;
        let builder = match &tls.client_ca {
            None => builder.with_no_client_auth(),
            Some(pem) => {
                let mut roots = RootCertStore::empty();
                for authority in certificates("tls.client-ca", pem)? {
                    roots.add(authority).map_err(|error| wrong("tls.client-ca", pem, error))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                let verifier = match tls.client_certificate {
                    ClientCertificate::Required => verifier,
                    ClientCertificate::Optional => verifier.allow_unauthenticated(),
                };
                let verifier = verifier.build().map_err(|error| wrong("tls.client-ca", pem, error))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder.with_single_cert(chain, secret).map_err(|error| {
            wrong(KEY, key, format_args!("{error}; is it the key of the first certificate of {certificate}?"))
        })?;
        // Drawn before the fork: a client may take up its session again at any worker.
        config.ticketer = ring::Ticketer::new().map_err(|error| Fatal::system("draw a key for TLS sessions", error))?;
        Ok(Some(Self(Arc::new(config))))
    }
}

fn certificates(name: &str, pem: &Pem) -> Result<Vec<CertificateDer<'static>>, Fatal> {
    let bytes = read(name, pem)?;
    let found = CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>();
    match found {
        Ok(found) if found.is_empty() => Err(wrong(name, pem, "no certificate is in it")),
        Ok(found) => Ok(found),
        Err(error) => Err(wrong(name, pem, error)),
    }
}

/// The whole file.
fn read(name: &str, pem: &Pem) -> Result<Vec<u8>, Fatal> {
    let path = path(name, pem)?;
    let mut bytes = Vec::new();
    let file = std::fs::File::open(&path).and_then(|file| {
        let everybodys = file.metadata()?.permissions().mode() & 0o004 != 0;
        if name == KEY && everybodys {
            crate::warn!(
                KEY_READABLE_BY_ALL,
                "{KEY} {} can be read by every user of this machine: chmod o= it",
                path.display()
            );
        }
        file.take(PEM_MAX + 1).read_to_end(&mut bytes)
    });
    match file {
        Err(error) => {
            let shown = path.display();
            let remedy = match error.kind() {
                std::io::ErrorKind::PermissionDenied => {
                    "; the daemon's user must be able to read it, or pass it as a credential (LoadCredential=)"
                }
                std::io::ErrorKind::NotFound => "; put it there, or give its path",
                _ => "",
            };
            Err(Fatal::new(exit::CONFIG, format!("cannot read {name} {shown}: {error}{remedy}")))
        }
        Ok(_) if bytes.len() as u64 > PEM_MAX => Err(wrong(name, pem, "it is larger than a MiB")),
        Ok(_) => Ok(bytes),
    }
}

fn path(name: &str, pem: &Pem) -> Result<PathBuf, Fatal> {
    match pem {
        Pem::File(path) => Ok(path.clone()),
        Pem::Credential(credential) => match std::env::var_os("CREDENTIALS_DIRECTORY") {
            Some(directory) => Ok(PathBuf::from(directory).join(credential)),
            None => Err(wrong(
                name,
                pem,
                format_args!("systemd passes no credentials; set LoadCredential={credential}:PATH in the unit"),
            )),
        },
    }
}

fn wrong(name: &str, pem: &Pem, why: impl std::fmt::Display) -> Fatal {
    Fatal::new(exit::CONFIG, format!("cannot use {name} {pem}: {why}"))
}
