//! Networks, as the file writes them: `10.0.0.0/8`, `2001:db8::/32`, or an address alone. What could mean two things, or
//! can never match, is refused.
use std::net::IpAddr;

use ipnet::IpNet;

use super::print::quoted;
use super::read::{Given, Read, Refused};

const MOST: usize = 1024;

impl Given<'_> {
    pub fn networks(&self) -> Read<Vec<IpNet>> {
        let Some(array) = self.value.get_ref().as_array() else {
            return self.wrong_type();
        };
        if array.len() > MOST {
            return Err(Refused::why(format!("{} networks", array.len())));
        }
        let mut networks = Vec::with_capacity(array.len());
        for element in array {
            let one = Given { value: element, cwd: self.cwd };
            let network = one.text().and_then(network).and_then(|network| match networks.contains(&network) {
                true => Err(Refused::why("given twice")),
                false => Ok(network),
            });
            networks.push(network.map_err(|refused| Refused { span: Some(element.span()), ..refused })?);
        }
        Ok(networks)
    }
}

fn network(text: &str) -> Read<IpNet> {
    let address = text.split_once('/').map_or(text, |(address, _)| address);
    let Ok(ip) = address.parse::<IpAddr>() else {
        return Err(Refused::why("not an IP address or network"));
    };
    let network = if address == text { Ok(IpNet::from(ip)) } else { text.parse() };
    match network {
        // A client that comes so is known by its IPv4 address.
        _ if matches!(ip, IpAddr::V6(six) if six.to_ipv4_mapped().is_some()) => {
            Err(Refused::why("an IPv4 address is written as one"))
        }
        Err(_) => Err(Refused::why("the prefix length is not one of this address family")),
        Ok(network) if network.trunc() != network => {
            Err(Refused::why(format!("the network of this address is {}", network.trunc())))
        }
        Ok(network) => Ok(network),
    }
}

/// An array of them as TOML; one address without its prefix length.
pub(super) fn print(networks: &[IpNet]) -> String {
    let one = |network: &IpNet| match network.prefix_len() == network.max_prefix_len() {
        true => quoted(&network.addr().to_string()),
        false => quoted(&network.to_string()),
    };
    format!("[{}]", networks.iter().map(one).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_read_and_what_is_doubtful_is_not() {
        for (text, shown) in [
            ("192.0.2.1", "192.0.2.1"),
            ("192.0.2.1/32", "192.0.2.1"),
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("::1", "::1"),
            ("2001:0db8:0::0/128", "2001:db8::"),
        ] {
            assert_eq!(print(&[network(text).unwrap()]), format!("[\"{shown}\"]"));
        }
        for (text, why) in [
            ("10.0.0.1/8", "the network of this address is 10.0.0.0/8"),
            ("10.0.0.0/33", "the prefix length is not one of this address family"),
            ("10.0.0.0/", "the prefix length is not one of this address family"),
            ("10.0.0/8", "not an IP address or network"),
            ("::ffff:10.0.0.0/104", "an IPv4 address is written as one"),
            ("localhost", "not an IP address or network"),
            ("fe80::1%1", "not an IP address or network"),
            ("", "not an IP address or network"),
        ] {
            assert_eq!(network(text).unwrap_err().why.as_deref(), Some(why), "{text}");
        }
    }
}
