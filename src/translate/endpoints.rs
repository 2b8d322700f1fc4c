//! EndpointSlices: the addresses of a Service.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use hashbrown::HashSet;
use k8s_openapi::api::discovery::v1;

use super::{
    SourceKind,
    fault::{Listed, Quoted},
    prepare,
};
use crate::ir::Endpoint;

/// The label that says whose addresses a slice holds.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// An EndpointSlice.
#[derive(Debug)]
pub(super) struct Slice {
    pub(super) namespace: Arc<str>,
    /// The Service; `None` without the label.
    pub(super) service: Option<Box<str>>,
    name: Arc<str>,
    /// TCP ports by name; an unnamed port has the empty name.
    ports: Box<[(Box<str>, u16)]>,
    endpoints: Box<[Address]>,
    /// What is ignored, without the name of the slice.
    ignored: Listed<String>,
}

/// Which addresses count.
#[derive(Debug, Clone)]
pub(super) struct Filter {
    pub(super) origin: SourceKind,
    /// Hawser's own addresses: requests that went there would come back.
    pub(super) own: HashSet<IpAddr>,
}

impl Filter {
    /// Why a cluster's address is ignored.
    fn refuses(&self, ip: &IpAddr) -> Option<&'static str> {
        if self.origin == SourceKind::Directory {
            None
        } else if ip.is_loopback() {
            Some("a loopback address would be Hawser's own")
        } else if self.own.contains(ip) {
            Some("it is Hawser's own address")
        } else {
            None
        }
    }
}

/// One endpoint of a slice, on every port.
#[derive(Debug, Clone, Copy)]
struct Address {
    ip: IpAddr,
    ready: bool,
    serving: bool,
    terminating: bool,
}

impl Slice {
    pub(super) fn new(slice: &v1::EndpointSlice) -> Self {
        let mut ignored = Listed::default();
        let namespace = prepare::namespace(&slice.metadata);
        let service = slice
            .metadata
            .labels
            .as_ref()
            .and_then(|labels| labels.get(SERVICE_NAME));
        let by_name = !matches!(&*slice.address_type, "IPv4" | "IPv6");
        if by_name {
            ignored.push(format!(
                "is ignored: its addressType is {}, Hawser connects to IPv4 and IPv6 addresses only",
                Quoted(&slice.address_type)
            ));
        }
        let endpoints = slice
            .endpoints
            .iter()
            .filter(|_| !by_name)
            .filter_map(|endpoint| address(endpoint, &namespace, &mut ignored));
        let endpoints = endpoints.collect();
        Self {
            namespace,
            service: service.map(|name| name.as_str().into()),
            name: prepare::name(&slice.metadata),
            endpoints,
            ports: slice.ports.iter().flatten().filter_map(port).collect(),
            ignored,
        }
    }

    /// Name of the slice.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Names of the ports that the slice has addresses on.
    pub(super) fn port_names(&self) -> impl Iterator<Item = &str> {
        self.ports.iter().map(|(name, _)| &**name)
    }

    /// Whether the slice has any address.
    pub(super) fn has_addresses(&self) -> bool {
        !self.endpoints.is_empty()
    }

    /// The addresses.
    pub(super) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.endpoints.iter().map(|endpoint| endpoint.ip)
    }

    /// What the user should know about the slice.
    pub(super) fn warnings(&self, filter: &Filter) -> impl Iterator<Item = String> {
        let ignored = self.ignored.iter().cloned();
        let refused = self.endpoints.iter().filter_map(|address| {
            let ip = address.ip;
            let why = filter.refuses(&ip)?;
            Some(format!("has the address {ip}, which is ignored: {why}"))
        });
        ignored
            .chain(refused)
            .map(|text| format!("EndpointSlice {}/{} {text}", self.namespace, self.name))
    }
}

/// An endpoint has one address; no meaning is defined for further ones.
fn address(
    endpoint: &v1::Endpoint,
    namespace: &str,
    ignored: &mut Listed<String>,
) -> Option<Address> {
    let (first, further) = endpoint.addresses.split_first()?;
    // An IPv4 address in IPv6 clothes must not get past the checks.
    let ip = first.parse::<IpAddr>().map(|ip| ip.to_canonical());
    let bad = ip.as_ref().map_or(Some("it is no IP address"), refused);
    // Who says so by mistake is told. Who means it leaves the reference out.
    let target = endpoint.target_ref.as_ref();
    let other = target.and_then(|target| target.namespace.as_deref());
    let foreign = other.is_some_and(|other| !other.is_empty() && other != namespace);
    let bad = bad.or(foreign.then_some("its targetRef is in another namespace"));
    if let Some(why) = bad {
        ignored.push(format!(
            "has the address {}, which is ignored: {why}",
            Quoted(first)
        ));
    }
    let ip = ip.ok().filter(|_| bad.is_none())?;
    if !further.is_empty() {
        ignored.push(format!(
            "has an endpoint with several addresses, of which only the first, {ip}, counts"
        ));
    }
    let conditions = endpoint.conditions.as_ref();
    Some(Address {
        ip,
        ready: conditions.and_then(|it| it.ready).unwrap_or(true),
        serving: conditions.and_then(|it| it.serving).unwrap_or(true),
        terminating: conditions.and_then(|it| it.terminating).unwrap_or(false),
    })
}

/// A TCP port with a number.
fn port(port: &v1::EndpointPort) -> Option<(Box<str>, u16)> {
    let tcp = port.protocol.as_deref().unwrap_or("TCP") == "TCP";
    let number = port.port.and_then(|number| u16::try_from(number).ok());
    number
        .filter(|&number| tcp && number > 0)
        .map(|number| (port.name.as_deref().unwrap_or_default().into(), number))
}

/// Why an address is never connected to. The API server refuses the same, and loopback; but standalone,
/// backends may run on this very machine.
fn refused(ip: &IpAddr) -> Option<&'static str> {
    let link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local() || ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    if ip.is_unspecified() {
        Some("it is unspecified")
    } else if ip.is_multicast() {
        Some("it is a multicast address")
    } else if link_local {
        Some("it is link-local")
    } else {
        None
    }
}

/// The endpoints of a port in total order, each address once, whichever slices name it. While an endpoint moves
/// from one slice to another it is in both: the better word counts.
pub(super) fn endpoints(slices: &[Arc<Slice>], port: &str, filter: &Filter) -> Vec<Endpoint> {
    let mut merged: BTreeMap<SocketAddr, Endpoint> = BTreeMap::new();
    for slice in slices {
        let numbers = slice.ports.iter().filter(|(name, _)| **name == *port);
        for &(_, number) in numbers {
            for address in &slice.endpoints {
                if filter.refuses(&address.ip).is_some() {
                    continue;
                }
                let socket = SocketAddr::new(address.ip, number);
                merged
                    .entry(socket)
                    .and_modify(|known| {
                        known.ready |= address.ready;
                        known.serving |= address.serving;
                        known.terminating &= address.terminating;
                    })
                    .or_insert(Endpoint {
                        address: socket,
                        ready: address.ready,
                        serving: address.serving,
                        terminating: address.terminating,
                    });
            }
        }
    }
    merged.into_values().collect()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn slice(family: &str, address: &str) -> Slice {
        Slice::new(&v1::EndpointSlice {
            address_type: family.into(),
            ports: Some(vec![v1::EndpointPort {
                port: Some(80),
                ..Default::default()
            }]),
            endpoints: vec![v1::Endpoint {
                addresses: vec![address.into()],
                ..Default::default()
            }],
            ..Default::default()
        })
    }

    #[rstest]
    #[case("IPv4", "10.0.0.1", SourceKind::Cluster, true)]
    #[case("IPv6", "2001:db8::1", SourceKind::Cluster, true)]
    #[case("IPv4", "127.0.0.1", SourceKind::Cluster, false)]
    #[case("IPv6", "::1", SourceKind::Cluster, false)]
    #[case("IPv6", "::ffff:127.0.0.1", SourceKind::Cluster, false)]
    #[case("IPv4", "10.0.0.9", SourceKind::Cluster, false)]
    #[case("IPv6", "::ffff:10.0.0.9", SourceKind::Cluster, false)]
    #[case("IPv4", "10.0.0.9", SourceKind::Directory, true)]
    #[case("IPv4", "127.0.0.1", SourceKind::Directory, true)]
    #[case("IPv4", "0.0.0.0", SourceKind::Directory, false)]
    #[case("IPv6", "::ffff:0.0.0.0", SourceKind::Directory, false)]
    #[case("IPv4", "169.254.169.254", SourceKind::Directory, false)]
    #[case("IPv6", "fe80::1", SourceKind::Directory, false)]
    #[case("IPv4", "224.0.0.1", SourceKind::Directory, false)]
    #[case("IPv4", "chat.example.com", SourceKind::Directory, false)]
    #[case("FQDN", "10.0.0.1", SourceKind::Directory, false)]
    fn addresses(
        #[case] family: &str,
        #[case] address: &str,
        #[case] origin: SourceKind,
        #[case] fine: bool,
    ) {
        let slice = slice(family, address);
        let filter = Filter {
            origin,
            own: HashSet::from(["10.0.0.9".parse().unwrap()]),
        };
        assert_eq!(slice.warnings(&filter).count(), usize::from(!fine));
        assert_eq!(
            endpoints(&[Arc::new(slice)], "", &filter).len(),
            usize::from(fine)
        );
    }

    #[test]
    fn missing_conditions_mean_a_ready_endpoint() {
        let endpoint = v1::Endpoint {
            addresses: vec!["10.0.0.1".into()],
            ..Default::default()
        };
        let found = address(&endpoint, "shop", &mut Listed::default()).unwrap();
        assert!(found.ready && found.serving && !found.terminating);
    }
}
