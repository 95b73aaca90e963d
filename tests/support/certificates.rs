//! Certificates for a test, made for it.
use super::home::Home;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use std::path::PathBuf;

/// An authority, and what it has signed.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate's file.
    pub file: PathBuf,
}

/// A certificate's file, and its key's.
pub struct Pair {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Authority {
    /// A new one; its file is `NAME.pem` in `home`.
    pub fn new(home: &Home, name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.self_signed(&key).unwrap();
        let file = home.write(&format!("{name}.pem"), &certificate.pem());
        Self { issuer: Issuer::new(params, key), file }
    }

    /// A certificate for `names`, of `common`, of an organisation.
    pub fn sign(&self, home: &Home, common: &str, names: &[&str]) -> Pair {
        let key = KeyPair::generate().unwrap();
        let mut params =
            CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
        params.distinguished_name.push(DnType::CommonName, common);
        params.distinguished_name.push(DnType::OrganizationName, "Example \"quoted\" Ltd");
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Pair {
            certificate: home.write(&format!("{common}.pem"), &certificate.pem()),
            key: home.write(&format!("{common}.key"), &key.serialize_pem()),
        }
    }
}
