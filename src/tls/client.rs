//! The client's side: what `send` and `bench` are to a server that speaks TLS.
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;

/// What is encrypted and not sent is at most so much, in bytes.
const OUTGOING_MAX: usize = 256 << 10;

/// Whom a client trusts, and what it shows.
#[derive(Clone, Debug)]
pub struct Client(Arc<ClientConfig>);

impl Client {
    /// `authorities`: a PEM file of those who vouch for the server; `None`: those of the system. `own`: files of the client's
    /// certificate and its key.
    ///
    /// # Errors
    /// A file cannot be read, or does not hold what it should.
    pub fn load(authorities: Option<&Path>, own: Option<(&Path, &Path)>) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        match authorities {
            Some(path) => {
                for authority in certificates(path)? {
                    roots.add(authority).map_err(|error| format!("cannot use {}: {error}", path.display()))?;
                }
            }
            None => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                if roots.is_empty() {
                    return Err("this system trusts no certificate authority (apt-get install ca-certificates); name the server's with --tls-ca".to_owned());
                }
            }
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("cannot set up TLS: {error}"))?
            .with_root_certificates(roots);
        let config = match own {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let secret = PrivateKeyDer::from_pem_file(key)
                    .map_err(|error| format!("cannot read a private key from {}: {error}", key.display()))?;
                builder
                    .with_client_auth_cert(certificates(certificate)?, secret)
                    .map_err(|error| format!("cannot use {} with {}: {error}", certificate.display(), key.display()))?
            }
        };
        Ok(Self(Arc::new(config)))
    }

    /// A conversation with the server that has a certificate for `name`, a host name or an address.
    ///
    /// # Errors
    /// `name` is neither.
    pub fn begin(&self, name: &str) -> Result<Conversation, String> {
        let server = ServerName::try_from(name.to_owned()).map_err(|_| format!("{name} is no name of a server"))?;
        let mut connection = ClientConnection::new(Arc::clone(&self.0), server)
            .map_err(|error| format!("cannot set up TLS: {error}"))?;
        connection.set_buffer_limit(Some(OUTGOING_MAX));
        Ok(Conversation(connection))
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let found = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match found {
        Ok(found) if found.is_empty() => Err(format!("no certificate is in {}", path.display())),
        Ok(found) => Ok(found),
        Err(error) => Err(format!("cannot read a certificate from {}: {error}", path.display())),
    }
}

/// A conversation with a server, over whatever carries it.
#[derive(Debug)]
pub struct Conversation(ClientConnection);

impl Conversation {
    /// Whether the handshake is under way.
    pub fn is_handshaking(&self) -> bool {
        self.0.is_handshaking()
    }

    /// Whether something is to be sent.
    pub fn wants_write(&self) -> bool {
        self.0.wants_write()
    }

    /// Sends what is to be sent; true: nothing more is.
    pub fn flush(&mut self, wire: &mut impl Write) -> io::Result<bool> {
        while self.0.wants_write() {
            match self.0.write_tls(wire) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Reads once from the wire, unless messages wait to be taken.
    ///
    /// # Errors
    /// `UnexpectedEof`: the wire has ended. `InvalidData`: the server cannot be trusted, or does not speak TLS.
    pub fn receive(&mut self, wire: &mut impl Read) -> io::Result<()> {
        if self.0.read_tls(wire)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.0.process_new_packets().map(|_| ()).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    /// Takes what the server has said, at most as much as fits; 0: it has ended the conversation.
    ///
    /// # Errors
    /// `WouldBlock`: nothing now. `UnexpectedEof`: the wire has ended without a farewell.
    pub fn take(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.0.reader().read(bytes)
    }

    /// Says something, as far as there is room; to be flushed.
    pub fn say(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.writer().write(bytes)
    }

    /// Says that nothing more will be said; to be flushed.
    pub fn part(&mut self) {
        self.0.send_close_notify();
    }
}
