//! The PROXY protocol, versions 1 and 2 (haproxy.org, `proxy-protocol.txt`): the header in front of a connection, by which a
//! proxy names the client that it speaks for. The door of `proxy-header`.
use core::net::SocketAddr;
use proxy_header::{Error, ParseConfig, Protocol, ProxyHeader};

/// A header is not longer than this; without attributes (TLVs) it has 232 bytes at most.
pub const MAX: usize = 4096;

const V1: &[u8] = b"PROXY ";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// What the bytes in front of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The beginning of a header.
    More,
    /// A header of `length` bytes.
    Header {
        /// The client; `None`: the proxy speaks for itself, or does not know (`LOCAL`, `UNKNOWN`).
        client: Option<SocketAddr>,
        /// How many bytes it has.
        length: usize,
    },
    /// No header.
    Malformed,
}

/// Looks at the first bytes of a connection.
pub fn parse(bytes: &[u8]) -> Step {
    let begins = |signature: &[u8]| bytes.iter().zip(signature).all(|(byte, wanted)| byte == wanted);
    if !begins(V1) && !begins(V2) {
        return Step::Malformed;
    }
    match ProxyHeader::parse(bytes, ParseConfig { include_tlvs: false, ..ParseConfig::default() }) {
        Ok((header, length)) => match header.proxied_address() {
            Some(address) if address.protocol != Protocol::Stream => Step::Malformed,
            address => Step::Header { client: address.map(|address| address.source), length },
        },
        Err(Error::BufferTooShort) if bytes.len() < MAX => Step::More,
        Err(_) => Step::Malformed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header(bytes: &[u8]) -> (Option<String>, usize) {
        for end in 0..bytes.len() {
            assert_eq!(parse(&bytes[..end]), Step::More, "{end} bytes of {bytes:?}");
        }
        match parse(&[bytes, b"hello\n"].concat()) {
            Step::Header { client, length } => (client.map(|client| client.to_string()), length),
            other => panic!("{bytes:?}: {other:?}"),
        }
    }

    #[test]
    fn both_versions_name_the_client() {
        let one = b"PROXY TCP4 192.0.2.7 203.0.113.9 56324 443\r\n";
        assert_eq!(header(one), (Some("192.0.2.7:56324".to_owned()), one.len()));
        let one = b"PROXY TCP6 2001:db8::7 2001:db8::9 56324 443\r\n";
        assert_eq!(header(one), (Some("[2001:db8::7]:56324".to_owned()), one.len()));
        assert_eq!(header(b"PROXY UNKNOWN\r\n"), (None, 15));
        let addresses = [192, 0, 2, 7, 203, 0, 113, 9, 0xdc, 4, 1, 0xbb];
        let two = [V2, &[0x21, 0x11, 0, 12], &addresses].concat();
        assert_eq!(header(&two), (Some("192.0.2.7:56324".to_owned()), 28));
        let tlv = [V2, &[0x21, 0x11, 0, 16], &addresses, &[4, 0, 1, 9]].concat();
        assert_eq!(header(&tlv), (Some("192.0.2.7:56324".to_owned()), 32));
        assert_eq!(header(&[V2, &[0x20, 0, 0, 0]].concat()), (None, 16), "LOCAL");
    }

    #[test]
    fn what_is_no_header_is_seen_at_its_first_byte() {
        for bytes in [&b"hello"[..], b"P\n", b"PROXY: hello", b"\r\n\r\nx", b"\x16\x03\x01", b"proxy TCP4"] {
            assert_eq!(parse(bytes), Step::Malformed, "{bytes:?}");
        }
        let datagram = [V2, &[0x21, 0x12, 0, 12], &[0; 12]].concat();
        assert_eq!(parse(&datagram), Step::Malformed);
        assert_eq!(parse(b"PROXY TCP4 192.0.2.7 203.0.113.9 56324 99999\r\n"), Step::Malformed);
        let endless = [b"PROXY TCP4 ".to_vec(), vec![b'1'; 200]].concat();
        assert_eq!(parse(&endless), Step::Malformed);
        let huge = [V2, &[0x21, 0x11, 0xff, 0xff], &[0; MAX]].concat();
        assert_eq!(parse(&huge), Step::Malformed);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(version in 0..3, rest: Vec<u8>) {
            let front = [&b""[..], V1, V2][version as usize];
            let bytes = [front, &rest].concat();
            if let Step::Header { length, .. } = parse(&bytes) {
                prop_assert!(length <= bytes.len());
            }
        }
    }
}
