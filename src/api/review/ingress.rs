//! An Ingress, as `pkg/apis/networking/validation` of Kubernetes checks it.

use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, Ingress, IngressBackend, IngressRule, IngressServiceBackend, IngressTLS,
    ServiceBackendPort,
};
use serde_json::Value;

use super::{Object, decode, names, problems::Problems, words};
use crate::api::annotations;

pub(super) fn read(manifest: &Value, problems: &mut Problems) -> Option<Object> {
    let ingress = decode::decode::<Ingress>(manifest, "", problems)?;
    check(&ingress, problems);
    if let (Some(given), Some(spec)) = (manifest.get("spec"), &ingress.spec) {
        decode::unknown_fields(given, spec, "spec", problems);
    }
    Some(Object::Ingress(Box::new(ingress)))
}

fn check(ingress: &Ingress, problems: &mut Problems) {
    let spec = ingress.spec.clone().unwrap_or_default();
    if spec.default_backend.is_none() && spec.rules.iter().flatten().next().is_none() {
        problems.push("spec", "needs rules or a defaultBackend");
    }
    if let Some(class) = &spec.ingress_class_name {
        if !names::is_subdomain(class) {
            problems.push(
                "spec.ingressClassName",
                format!(
                    "{} is no name of an IngressClass: {}",
                    words::quote(class),
                    names::SUBDOMAIN_WORDS
                ),
            );
        }
        let legacy = annotations::LEGACY_INGRESS_CLASS;
        if ingress
            .metadata
            .annotations
            .as_ref()
            .is_some_and(|all| all.contains_key(legacy))
        {
            problems.push(
                words::join("metadata.annotations", legacy),
                "cannot be there together with spec.ingressClassName: keep the field",
            );
        }
    }
    if let Some(backend) = &spec.default_backend {
        check_backend(backend, "spec.defaultBackend", problems);
    }
    for (index, tls) in spec.tls.iter().flatten().enumerate() {
        check_tls(tls, &format!("spec.tls[{index}]"), problems);
    }
    for (index, rule) in spec.rules.iter().flatten().enumerate() {
        check_rule(rule, &format!("spec.rules[{index}]"), problems);
    }
}

fn check_tls(tls: &IngressTLS, field: &str, problems: &mut Problems) {
    for (index, host) in tls.hosts.iter().flatten().enumerate() {
        check_host(host, &format!("{field}.hosts[{index}]"), problems);
    }
    if let Some(secret) = tls.secret_name.as_deref()
        && !secret.is_empty()
        && !names::is_subdomain(secret)
    {
        problems.push(
            format!("{field}.secretName"),
            format!(
                "{} is no name of a Secret: {}",
                words::quote(secret),
                names::SUBDOMAIN_WORDS
            ),
        );
    }
}

fn check_host(host: &str, field: &str, problems: &mut Problems) {
    if names::is_address(host) {
        problems.push(
            field,
            format!("{} is an IP address: write a DNS name", words::quote(host)),
        );
    } else if !names::is_host(host) {
        problems.push(
            field,
            format!("{} is no host: {}", words::quote(host), names::HOST_WORDS),
        );
    }
}

fn check_rule(rule: &IngressRule, field: &str, problems: &mut Problems) {
    if let Some(host) = rule.host.as_deref()
        && !host.is_empty()
    {
        check_host(host, &format!("{field}.host"), problems);
    }
    let Some(http) = &rule.http else { return };
    if http.paths.is_empty() {
        problems.push(format!("{field}.http.paths"), "needs at least one path");
    }
    for (index, path) in http.paths.iter().enumerate() {
        check_path(path, &format!("{field}.http.paths[{index}]"), problems);
    }
}

fn check_path(path: &HTTPIngressPath, field: &str, problems: &mut Problems) {
    /// What would be read differently once the path is normalised.
    const NOT_INSIDE: [&str; 5] = ["//", "/./", "/../", "%2f", "%2F"];
    const NOT_AT_END: [&str; 2] = ["/..", "/."];

    let value = path.path.as_deref().unwrap_or_default();
    let value_field = format!("{field}.path");
    match path.path_type.as_str() {
        "Exact" | "Prefix" => {
            if !value.starts_with('/') {
                problems.push(
                    &*value_field,
                    format!("{} does not start with '/', as in /ws", words::quote(value)),
                );
            }
            let inside = NOT_INSIDE.into_iter().filter(|part| value.contains(part));
            let at_end = NOT_AT_END.into_iter().filter(|part| value.ends_with(part));
            for part in inside.chain(at_end) {
                problems.push(
                    &*value_field,
                    format!(
                        "{} contains '{part}', which an {} path must not",
                        words::quote(value),
                        path.path_type
                    ),
                );
            }
        }
        "ImplementationSpecific" => {
            if !value.is_empty() && !value.starts_with('/') {
                problems.push(
                    &*value_field,
                    format!("{} does not start with '/', as in /ws", words::quote(value)),
                );
            }
        }
        "" => problems.push(
            format!("{field}.pathType"),
            "required, but missing: Exact, Prefix or ImplementationSpecific",
        ),
        other => problems.push(
            format!("{field}.pathType"),
            format!(
                "{} is none of Exact, Prefix, ImplementationSpecific",
                words::quote(other)
            ),
        ),
    }
    check_backend(&path.backend, &format!("{field}.backend"), problems);
}

fn check_backend(backend: &IngressBackend, field: &str, problems: &mut Problems) {
    match (&backend.service, &backend.resource) {
        (Some(service), None) => check_service(service, &format!("{field}.service"), problems),
        (None, Some(_)) => {}
        (Some(_), Some(_)) => problems.push(field, "has both service and resource: keep one"),
        (None, None) => problems.push(
            field,
            "needs a service, as in service: {name: chat, port: {number: 80}}",
        ),
    }
}

fn check_service(service: &IngressServiceBackend, field: &str, problems: &mut Problems) {
    if service.name.is_empty() {
        problems.push(format!("{field}.name"), "required, but missing");
    } else if !names::is_service_name(&service.name) {
        problems.push(
            format!("{field}.name"),
            format!(
                "{} is no name of a Service: {}",
                words::quote(&service.name),
                names::SERVICE_WORDS
            ),
        );
    }
    let port = service.port.clone().unwrap_or_default();
    check_port(&port, &format!("{field}.port"), problems);
}

fn check_port(port: &ServiceBackendPort, field: &str, problems: &mut Problems) {
    // As in the API server zero and empty text mean absent.
    let name = port.name.as_deref().filter(|name| !name.is_empty());
    let number = port.number.filter(|number| *number != 0);
    match (name, number) {
        (Some(_), Some(_)) => problems.push(field, "has both name and number: keep one"),
        (None, None) => problems.push(field, "needs a number from 1 to 65535, or a name"),
        (Some(name), None) if !names::is_port_name(name) => problems.push(
            format!("{field}.name"),
            format!(
                "{} is no name of a port: {}",
                words::quote(name),
                names::PORT_NAME_WORDS
            ),
        ),
        (None, Some(number)) if !(1..=65535).contains(&number) => problems.push(
            format!("{field}.number"),
            format!("{number} is no port: use 1 to 65535"),
        ),
        _ => {}
    }
}
