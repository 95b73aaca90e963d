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
