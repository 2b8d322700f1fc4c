//! Flags about the other replicas and about what is reported. They mean something with a cluster only.

use std::{net::IpAddr, path::PathBuf};

use clap::Args;

use super::run::parse_reference;
use crate::{
    app::Control,
    source::{
        cluster::Address,
        publish::{self, Publish},
    },
};

/// Flags about replicas and status. Each is also an environment variable.
#[derive(Debug, Args)]
pub(super) struct ControlArgs {
    /// Service whose addresses go into the status of Ingress objects
    #[arg(long, value_name = "NS/NAME", env = "HAWSER_PUBLISH_SERVICE", value_parser = parse_reference, conflicts_with_all = ["publish_address", "manifests"])]
    publish_service: Option<(String, String)>,

    /// IP address or host name that goes into the status of Ingress objects (repeatable)
    #[arg(long, value_name = "ADDRESS", env = "HAWSER_PUBLISH_ADDRESS", value_delimiter = ',', value_parser = parse_address, conflicts_with = "manifests")]
    publish_address: Vec<Address>,

    /// Headless Service of all replicas [default: this process is alone]
    ///
    /// With it Programmed means that every ready replica serves the route, and connections are those of all of
    /// them.
    #[arg(long, value_name = "NS/NAME", env = "HAWSER_PEER_SERVICE", value_parser = parse_reference, conflicts_with = "manifests")]
    peer_service: Option<(String, String)>,

    /// Projected token (audience hawser.dev/peers) that this replica shows to the others
    #[arg(
        long,
        value_name = "FILE",
        env = "HAWSER_PEER_TOKEN_FILE",
        default_value = "/var/run/secrets/hawser/peers/token"
    )]
    peer_token_file: PathBuf,

    /// Lease that says which replica writes status [default: hawser-leader in the namespace of the pod or context]
    #[arg(long, value_name = "NS/NAME", env = "HAWSER_LEASE", value_parser = parse_reference, conflicts_with = "manifests")]
    lease: Option<(String, String)>,

    /// Name of this pod [default: the host name]
    #[arg(long, value_name = "NAME", env = "POD_NAME")]
    pod_name: Option<String>,

    /// Addresses of this pod: no endpoint may have them [default: those of all interfaces]
    #[arg(long, value_name = "IP,...", env = "POD_IPS", value_delimiter = ',')]
    pod_ips: Vec<IpAddr>,
}

impl ControlArgs {
    /// For the app.
    pub(super) fn control(&self) -> Control {
        let addresses = || {
            let addresses = self.publish_address.clone();
            (!addresses.is_empty()).then_some(Publish::Addresses(addresses))
        };
        let service = self.publish_service.clone();
        Control {
            lease: self.lease.clone(),
            pod: self.pod(),
            peer_service: self.peer_service.clone(),
            peer_token_file: self.peer_token_file.clone(),
            publish: service
                .map(|(namespace, name)| Publish::Service(namespace, name))
                .or_else(addresses),
        }
    }

    /// The Service whose addresses are Hawser's own.
    pub(super) fn peer_service(&self) -> Option<(String, String)> {
        self.peer_service.clone()
    }

    /// The addresses of this process that no endpoint may have.
    pub(super) fn own_addresses(&self) -> Vec<IpAddr> {
        if !self.pod_ips.is_empty() {
            return self.pod_ips.clone();
        }
        let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
        interfaces.iter().map(if_addrs::Interface::ip).collect()
    }

    fn pod(&self) -> String {
        self.pod_name.clone().unwrap_or_else(|| {
            let system = rustix::system::uname();
            system.nodename().to_string_lossy().into_owned()
        })
    }
}

fn parse_address(text: &str) -> Result<Address, String> {
    let addresses = publish::parse(text).map_err(|error| error.to_string())?;
    let first = addresses.into_iter().next();
    first.ok_or_else(|| "must not be empty".to_owned())
}
