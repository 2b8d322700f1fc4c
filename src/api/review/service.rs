//! A Service, as far as routing reads it.

use std::collections::HashSet;

use k8s_openapi::{
    api::core::v1::{Service, ServicePort},
    apimachinery::pkg::util::intstr::IntOrString,
};
use serde_json::Value;

use super::{Object, decode, names, problems::Problems, words};

pub(super) fn read(manifest: &Value, problems: &mut Problems) -> Option<Object> {
    let service = decode::decode::<Service>(manifest, "", problems)?;
    check(&service, problems);
    Some(Object::Service(Box::new(service)))
}

fn check(service: &Service, problems: &mut Problems) {
    let spec = service.spec.clone().unwrap_or_default();
    let kind = spec.type_.as_deref().unwrap_or("ClusterIP");
    if !matches!(
        kind,
        "" | "ClusterIP" | "NodePort" | "LoadBalancer" | "ExternalName"
    ) {
        problems.push(
            "spec.type",
            format!(
                "{} is none of ClusterIP, NodePort, LoadBalancer, ExternalName",
                words::quote(kind)
            ),
        );
    }
    if kind == "ExternalName" {
        // Kubernetes takes a final dot here.
        let name = spec.external_name.as_deref().unwrap_or_default();
        if !names::is_subdomain(name.strip_suffix('.').unwrap_or(name)) {
            problems.push(
                "spec.externalName",
                format!(
                    "{} is no DNS name: {}",
                    words::quote(name),
                    names::SUBDOMAIN_WORDS
                ),
            );
        }
    }
    let ports = spec.ports.unwrap_or_default();
    let headless = spec.cluster_ip.as_deref() == Some("None");
    if ports.is_empty() && !headless && kind != "ExternalName" {
        problems.push("spec.ports", "needs at least one port, as in - port: 80");
    }
    let mut taken = HashSet::new();
    let mut named = HashSet::new();
    for (index, port) in ports.iter().enumerate() {
        let field = format!("spec.ports[{index}]");
        check_port(port, ports.len() > 1, &field, problems);
        let name = port.name.as_deref().unwrap_or_default();
        if !name.is_empty() && !named.insert(name) {
            problems.push(
                format!("{field}.name"),
                format!("{} is there twice", words::quote(name)),
            );
        }
        let protocol = port.protocol.as_deref().unwrap_or("TCP");
        if !taken.insert((port.port, protocol)) {
            problems.push(
                field,
                format!("port {} {protocol} is there twice", port.port),
            );
        }
    }
}

fn check_port(port: &ServicePort, needs_name: bool, field: &str, problems: &mut Problems) {
    let name = port.name.as_deref().unwrap_or_default();
    if name.is_empty() && needs_name {
        problems.push(
            format!("{field}.name"),
            "required where a Service has several ports",
        );
    } else if !name.is_empty() && !names::is_label(name) {
        problems.push(
            format!("{field}.name"),
            format!(
                "{} is no name of a port: {}",
                words::quote(name),
                names::LABEL_WORDS
            ),
        );
    }
    if !(1..=65535).contains(&port.port) {
        problems.push(
            format!("{field}.port"),
            format!("{} is no port: use 1 to 65535", port.port),
        );
    }
    check_protocol(port.protocol.as_deref(), field, problems);
    match &port.target_port {
        Some(IntOrString::Int(number)) if !(1..=65535).contains(number) => problems.push(
            format!("{field}.targetPort"),
            format!("{number} is no port: use 1 to 65535"),
        ),
        Some(IntOrString::String(name)) if !names::is_port_name(name) => problems.push(
            format!("{field}.targetPort"),
            format!(
                "{} is no name of a port: {}",
                words::quote(name),
                names::PORT_NAME_WORDS
            ),
        ),
        _ => {}
    }
}

/// TCP, UDP or SCTP; absent is TCP.
pub(super) fn check_protocol(protocol: Option<&str>, field: &str, problems: &mut Problems) {
    if let Some(protocol) = protocol
        && !matches!(protocol, "" | "TCP" | "UDP" | "SCTP")
    {
        problems.push(
            format!("{field}.protocol"),
            format!("{} is none of TCP, UDP, SCTP", words::quote(protocol)),
        );
    }
}
