//! The addresses to listen at, as the file writes them. Never looks up a name, never asks whether an address is free.
use std::net::{IpAddr, SocketAddr};

use super::read::{Given, Read, Refused};

const MAX_LISTEN: usize = 64;

impl Given<'_> {
    pub fn listen(&self) -> Read<Vec<SocketAddr>> {
        let Some(array) = self.value.get_ref().as_array() else {
            return self.wrong_type();
        };
        let mut addresses = Vec::with_capacity(array.len().min(MAX_LISTEN));
        for element in array {
            let one = Given { value: element, cwd: self.cwd };
            let address = one.address().and_then(|address| match addresses.contains(&address) {
                true => Err(Refused::why("given twice")),
                false => Ok(address),
            });
            addresses.push(address.map_err(|refused| Refused { span: Some(element.span()), ..refused })?);
        }
        match addresses.len() {
            0 => Err(Refused::why("empty")),
            1..=MAX_LISTEN => Ok(addresses),
            n => Err(Refused::why(format!("{n} addresses"))),
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
