//! The entries of `status.loadBalancer.ingress`.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::Service;

use crate::source::cluster::Address;

/// More are of no use to a client, and every Ingress repeats them.
pub const MAX_ADDRESSES: usize = 16;

/// Longest host name (RFC 1123), and longest part of one.
const MAX_HOSTNAME: usize = 253;
const MAX_LABEL: usize = 63;

/// Why `--publish-address` cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// An entry is neither an IP address nor a host name.
    #[error(
        "{0:?} is no IP address and no host name; write addresses without port, separated by commas, as in \
         203.0.113.7,lb.example.com"
    )]
    Neither(String),
    /// There is nothing to publish.
    #[error("there is no address; write one, as in 203.0.113.7, or leave the flag out")]
    Empty,
    /// There are too many.
    #[error("there are {0} addresses, at most {MAX_ADDRESSES} can be published")]
    TooMany(usize),
}

/// Reads `--publish-address`: IP addresses and host names, separated by commas. In order, each once.
pub fn parse(text: &str) -> Result<Vec<Address>, AddressError> {
    let mut addresses = Vec::new();
    for entry in text
        .split(',')
        .map(str::trim)
        .filter(|entry| !entry.is_empty())
    {
        let address = ip(entry).or_else(|| hostname(entry));
        addresses
            .push(address.ok_or_else(|| {
                AddressError::Neither(entry.chars().take(MAX_HOSTNAME).collect())
            })?);
    }
    addresses.sort();
    addresses.dedup();
    match addresses.len() {
        0 => Err(AddressError::Empty),
        1..=MAX_ADDRESSES => Ok(addresses),
        many => Err(AddressError::TooMany(many)),
    }
}

/// Where clients reach a Service, as ingress-nginx sees it for `--publish-service`: of a load balancer its
/// addresses and the external ones; of an external name that name; else the external addresses, and without
/// any the cluster's own. Other than there all cluster addresses count, and external ones for `ClusterIP`, too.
pub(super) fn of_service(service: &Service) -> Vec<Address> {
    let Some(spec) = &service.spec else {
        return Vec::new();
    };
    let external = || {
        spec.external_ips
            .iter()
            .flatten()
            .filter_map(|text| ip(text))
    };
    let mut addresses: Vec<_> = match spec.type_.as_deref() {
        Some("ExternalName") => spec
            .external_name
            .iter()
            .filter_map(|name| hostname(name))
            .collect(),
        Some("LoadBalancer") => {
            let balancer = service
                .status
                .as_ref()
                .and_then(|status| status.load_balancer.as_ref());
            let entries = balancer
                .iter()
                .flat_map(|balancer| balancer.ingress.iter().flatten());
            // Some clouds give both; a client needs one, and the address asks no DNS.
            let found = entries.filter_map(|entry| {
                let by_ip = entry.ip.as_deref().and_then(ip);
                by_ip.or_else(|| entry.hostname.as_deref().and_then(hostname))
            });
            found.chain(external()).collect()
        }
        _ => external().collect(),
    };
    let inside = matches!(spec.type_.as_deref(), None | Some("ClusterIP" | "NodePort"));
    if addresses.is_empty() && inside {
        // "None" of a headless Service is no address.
        addresses = spec
            .cluster_ips
            .iter()
            .flatten()
            .filter_map(|text| ip(text))
            .collect();
    }
    addresses.sort();
    addresses.dedup();
    addresses.truncate(MAX_ADDRESSES);
    addresses
}

fn ip(text: &str) -> Option<Address> {
    let ip: IpAddr = text.parse().ok()?;
    Some(Address::Ip(ip.to_string().into()))
}

/// A host name in lower case without final dot. What ends in a number would be an IPv4 address to a client.
fn hostname(text: &str) -> Option<Address> {
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let label = |label: &str| {
        let bytes = label.as_bytes();
        let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        bytes.len() <= MAX_LABEL
            && edge(bytes.first())
            && edge(bytes.last())
            && bytes
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
    };
    let number = name
        .rsplit('.')
        .next()
        .is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    (name.len() <= MAX_HOSTNAME && !number && name.split('.').all(label))
        .then(|| Address::Hostname(name.into()))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn words(addresses: &[Address]) -> String {
        let words: Vec<_> = addresses
            .iter()
            .map(|address| match address {
                Address::Ip(ip) => format!("ip {ip}"),
                Address::Hostname(name) => format!("host {name}"),
            })
            .collect();
        words.join(", ")
    }

    #[rstest]
    #[case("203.0.113.7", "ip 203.0.113.7")]
    #[case(
        " LB.example.com. , 203.0.113.7,203.0.113.7,",
        "ip 203.0.113.7, host lb.example.com"
    )]
    #[case("2001:DB8::0:1", "ip 2001:db8::1")]
    #[case("localhost", "host localhost")]
    fn addresses_of_the_flag(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(words(&parse(text).expect("addresses")), expected);
    }

    #[rstest]
    #[case("", "leave the flag out")]
    #[case(" , ", "leave the flag out")]
    #[case("203.0.113.7:80", "without port")]
    #[case("203.0.113.0/24", "no host name")]
    #[case("203.0.113", "no host name")]
    #[case("*.example.com", "no host name")]
    #[case("https://lb.example.com", "no host name")]
    #[case("a b", "separated by commas")]
    #[case("lb-.example.com", "no host name")]
    #[case("[2001:db8::1]", "no IP address")]
    #[case("fe80::1%eth0", "no IP address")]
    fn bad_flags_say_what_is_right(#[case] text: &str, #[case] words: &str) {
        let error = parse(text).expect_err("an error").to_string();
        assert!(error.contains(words), "{error}");
    }

    #[test]
    fn there_is_a_bound() {
        let many: Vec<_> = (0..17).map(|number| format!("10.0.0.{number}")).collect();
        assert_eq!(parse(&many.join(",")), Err(AddressError::TooMany(17)));
    }

    #[rstest]
    #[case(json!({"type": "ClusterIP", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1", "fd00::1"]}), json!({}), "ip 10.0.0.1, ip fd00::1")]
    #[case(json!({"clusterIP": "None", "clusterIPs": ["None"]}), json!({}), "")]
    #[case(json!({"type": "NodePort", "clusterIPs": ["10.0.0.1"], "externalIPs": ["203.0.113.9", "203.0.113.8"]}), json!({}), "ip 203.0.113.8, ip 203.0.113.9")]
    #[case(json!({"type": "ExternalName", "externalName": "lb.example.com"}), json!({}), "host lb.example.com")]
    #[case(json!({"type": "LoadBalancer", "clusterIPs": ["10.0.0.1"]}), json!({}), "")]
    #[case(
        json!({"type": "LoadBalancer", "clusterIPs": ["10.0.0.1"], "externalIPs": ["203.0.113.9"]}),
        json!({"ingress": [{"hostname": "b.example.com"}, {"ip": "203.0.113.1", "hostname": "a.example.com"}, {"hostname": "b.example.com"}, {"ip": "nonsense"}]}),
        "ip 203.0.113.1, ip 203.0.113.9, host b.example.com"
    )]
    fn addresses_of_a_service(
        #[case] spec: serde_json::Value,
        #[case] balancer: serde_json::Value,
        #[case] expected: &str,
    ) {
        let service = json!({"metadata": {}, "spec": spec, "status": {"loadBalancer": balancer}});
        let service = serde_json::from_value(service).expect("a Service");
        assert_eq!(words(&of_service(&service)), expected);
    }
}
