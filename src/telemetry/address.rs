//! Addresses as text. What `Display` writes, for a tenth of its price: each line of the log has two, and each request to
//! a backend has one.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Room for any IPv4 address with its port.
const ROOM: usize = 24;

/// An address without a port.
pub fn ip(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => v4(address),
        IpAddr::V6(address) => address.to_string(),
    }
}

/// An address with its port.
pub fn socket(address: SocketAddr) -> String {
    match address {
        SocketAddr::V4(address) => {
            let mut text = v4(*address.ip());
            text.push(':');
            decimal(&mut text, address.port());
            text
        }
        SocketAddr::V6(address) => address.to_string(),
    }
}

fn v4(address: Ipv4Addr) -> String {
    let mut text = String::with_capacity(ROOM);
    let [first, rest @ ..] = address.octets();
    decimal(&mut text, first.into());
    for octet in rest {
        text.push('.');
        decimal(&mut text, octet.into());
    }
    text
}

fn decimal(text: &mut String, number: u16) {
    for unit in [10_000, 1_000, 100, 10, 1] {
        if number >= unit || unit == 1 {
            // A digit.
            let digit = u8::try_from(number / unit % 10).unwrap_or_default();
            text.push(char::from(b'0' + digit));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_everywhere() {
        for text in [
            "0.0.0.0:0",
            "10.20.255.1:80",
            "192.0.2.7:65535",
            "100.9.99.109:10000",
            "[2001:db8::1]:8080",
        ] {
            let address: SocketAddr = text.parse().expect(text);
            assert_eq!(socket(address), text);
            assert_eq!(ip(address.ip()), address.ip().to_string());
        }
        for number in 0..=u16::MAX {
            let mut text = String::new();
            decimal(&mut text, number);
            assert_eq!(text, number.to_string());
        }
    }
}
