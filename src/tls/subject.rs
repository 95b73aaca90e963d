//! The name in a client's certificate, as a record shows it.
use x509_parser::prelude::{FromDer, X509Certificate};

/// The longest in bytes (`store::record::SUBJECT_MAX`); a longer one is cut, and ends in `…`.
const MAX: usize = 256;

/// The subject of `certificate` (DER, RFC 5280), verified before: `CN=sensor-7, O=Example`, cut to [`MAX`] bytes.
pub fn text(certificate: &[u8]) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let text = certificate.subject().to_string();
    if text.len() <= MAX {
        return Some(text);
    }
    let mark = '…';
    let end = (0..=MAX - mark.len_utf8()).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    Some(format!("{}{mark}", &text[..end]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair};

    fn certificate(common: &str) -> Vec<u8> {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "Example");
        params.distinguished_name.push(DnType::CommonName, common);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn a_name_is_shown_and_a_long_one_is_cut() {
        assert_eq!(text(&certificate("sensor-7")).unwrap(), "O=Example, CN=sensor-7");
        let long = text(&certificate(&"é".repeat(300))).unwrap();
        assert!(long.len() <= MAX && long.len() > MAX - 4 && long.ends_with("é…"), "{long}");
        assert_eq!(text(b"no certificate"), None);
    }
}
