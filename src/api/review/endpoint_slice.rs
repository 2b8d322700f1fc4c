//! An `EndpointSlice`. Loopback and link-local addresses pass, which an API server refuses: whether they are
//! used is the source's affair.

use std::{
    collections::HashSet,
    net::{Ipv4Addr, Ipv6Addr},
};

use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::Value;

use super::{Object, decode, names, problems::Problems, service, words};

/// Limits of Kubernetes (`pkg/apis/discovery/validation`).
const MAX_ENDPOINTS: usize = 1000;
const MAX_ADDRESSES: usize = 100;
const MAX_PORTS: usize = 20_000;

pub(super) fn read(manifest: &Value, problems: &mut Problems) -> Option<Object> {
    let slice = decode::decode::<EndpointSlice>(manifest, "", problems)?;
    check_endpoints(&slice, problems);
    check_ports(&slice, problems);
    Some(Object::EndpointSlice(Box::new(slice)))
}

fn check_endpoints(slice: &EndpointSlice, problems: &mut Problems) {
    let (valid, asked): (fn(&str) -> bool, _) = match slice.address_type.as_str() {
        "IPv4" => (
            |text| text.parse::<Ipv4Addr>().is_ok(),
            "IPv4 address, as in 10.0.0.1",
        ),
        "IPv6" => (
            |text| text.parse::<Ipv6Addr>().is_ok(),
            "IPv6 address, as in 2001:db8::1",
        ),
        "FQDN" => (names::is_subdomain, "DNS name, as in chat.example.com"),
        "" => {
            problems.push("addressType", "required, but missing: IPv4, IPv6 or FQDN");
            return;
        }
        other => {
            problems.push(
                "addressType",
                format!("{} is none of IPv4, IPv6, FQDN", words::quote(other)),
            );
            return;
        }
    };
    if slice.endpoints.len() > MAX_ENDPOINTS {
        problems.push(
            "endpoints",
            format!("more than {MAX_ENDPOINTS} in the list: use several slices"),
        );
    }
    for (index, endpoint) in slice.endpoints.iter().enumerate() {
        let field = format!("endpoints[{index}].addresses");
        if endpoint.addresses.is_empty() {
            problems.push(&*field, "needs an address");
        } else if endpoint.addresses.len() > MAX_ADDRESSES {
            problems.push(&*field, format!("more than {MAX_ADDRESSES} in the list"));
        }
        for (index, address) in endpoint.addresses.iter().enumerate() {
            if !valid(address) {
                problems.push(
                    format!("{field}[{index}]"),
                    format!("{} is no {asked}", words::quote(address)),
                );
            }
        }
    }
}

fn check_ports(slice: &EndpointSlice, problems: &mut Problems) {
    let ports = slice.ports.as_deref().unwrap_or_default();
    if ports.len() > MAX_PORTS {
        problems.push("ports", format!("more than {MAX_PORTS} in the list"));
    }
    let mut seen = HashSet::new();
    for (index, port) in ports.iter().enumerate() {
        let field = format!("ports[{index}]");
        let name = port.name.as_deref().unwrap_or_default();
        if !name.is_empty() && !names::is_label(name) {
            problems.push(
                format!("{field}.name"),
                format!(
                    "{} is no name of a port: {}",
                    words::quote(name),
                    names::LABEL_WORDS
                ),
            );
        }
        if !seen.insert(name) {
            problems.push(
                format!("{field}.name"),
                format!("{} is there twice", words::quote(name)),
            );
        }
        if let Some(number) = port.port
            && !(1..=65535).contains(&number)
        {
            problems.push(
                format!("{field}.port"),
                format!("{number} is no port: use 1 to 65535"),
            );
        }
        service::check_protocol(port.protocol.as_deref(), &field, problems);
    }
}
