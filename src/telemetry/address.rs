//! Addresses as text. What `Display` writes, for a tenth of its price: each line of the log has two, and each request to
//! a backend has one.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// An address without a port.
pub fn ip(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => {
            // Room for any of them.
            let mut text = String::with_capacity(16);
            push_v4(&mut text, address);
            text
        }
        IpAddr::V6(address) => address.to_string(),
    }
}

/// Appends an address with its port.
pub(super) fn push_socket(text: &mut String, address: SocketAddr) {
    match address {
        SocketAddr::V4(address) => {
            push_v4(text, *address.ip());
            text.push(':');
            push(text, address.port());
        }
        SocketAddr::V6(address) => text.push_str(&address.to_string()),
    }
}

fn push_v4(text: &mut String, address: Ipv4Addr) {
    let [first, rest @ ..] = address.octets();
    push(text, first);
    for octet in rest {
        text.push('.');
        push(text, octet);
    }
}

fn push(text: &mut String, number: impl itoa::Integer) {
    text.push_str(itoa::Buffer::new().format(number));
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
            let mut written = String::new();
            push_socket(&mut written, address);
            assert_eq!(written, text);
            assert_eq!(ip(address.ip()), address.ip().to_string());
        }
    }
}
