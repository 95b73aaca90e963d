//! The places to listen at, as the file writes them. Never looks up a name, never asks whether an address is free.
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use super::read::{Given, Read, Refused};
use super::types::Listen;

const MAX_LISTEN: usize = 64;

impl Given<'_> {
    pub fn listen(&self) -> Read<Vec<Listen>> {
        self.different(MAX_LISTEN, |one| match one.text()?.strip_prefix("unix:") {
            Some(path) => one.socket_path(path).map(Listen::Unix),
            None => one.address().map(Listen::Inet),
        })
    }

    pub fn addresses(&self) -> Read<Vec<SocketAddr>> {
        self.different(MAX_LISTEN, |one| one.address())
    }

    pub fn address_or_none(&self) -> Read<Option<SocketAddr>> {
        if self.text()?.is_empty() { Ok(None) } else { self.address().map(Some) }
    }

    /// At most `most` different elements of an array, each read by `read`.
    fn different<T: PartialEq>(&self, most: usize, read: impl Fn(Given<'_>) -> Read<T>) -> Read<Vec<T>> {
        let Some(array) = self.value.get_ref().as_array() else {
            return self.wrong_type();
        };
        let mut addresses = Vec::with_capacity(array.len().min(most));
        for element in array {
            let one = Given { value: element, cwd: self.cwd };
            let address = read(one).and_then(|address| match addresses.contains(&address) {
                true => Err(Refused::why("given twice")),
                false => Ok(address),
            });
            addresses.push(address.map_err(|refused| Refused { span: Some(element.span()), ..refused })?);
        }
        if addresses.len() <= most { Ok(addresses) } else { Err(Refused::why(format!("{} of them", addresses.len()))) }
    }

    /// Without the `@` of an abstract name: whoever is in the network namespace could use that, whatever its mode.
    fn socket_path(&self, path: &str) -> Read<PathBuf> {
        match path {
            "" => Err(Refused::why("empty")),
            _ if path.starts_with('@') => Err(Refused::why("abstract names are not listened at")),
            _ if path.ends_with('/') => Err(Refused::why("names a directory")),
            _ => self.absolute(path),
        }
    }

    fn address(&self) -> Read<SocketAddr> {
        let text = self.text()?;
        text.parse().map_err(|_| Refused::why(address_fault(text)))
    }
}

/// Why `text` is no address, where one can tell.
fn address_fault(text: &str) -> &'static str {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    match (bare.parse::<IpAddr>(), text.rsplit_once(':')) {
        (Ok(IpAddr::V6(_)), _) if bare == text => "an IPv6 address stands in brackets, its port after them",
        (Ok(_), _) => "the port is missing",
        (_, Some((host, port)))
            if host.bytes().any(|b| b.is_ascii_alphabetic()) && !host.contains(':') && port.parse::<u16>().is_ok() =>
        {
            "host names are not looked up"
        }
        _ => "not an IP address and a port",
    }
}
