//! An Ingress on its own: hosts, paths, backends, annotations.

use std::sync::Arc;

use k8s_openapi::api::networking::v1;

use super::{
    annotation,
    class::ClassRef,
    fault::{Fault, Listed, Quoted, Reason},
    host, path, policy,
    prepare::{self, Match, Place, Port, Ref, RefTarget, RouteObject, Rule},
};
use crate::{
    api::annotations::LEGACY_INGRESS_CLASS,
    ir::{HostPattern, ObjectId, PathMatch, Policy, RouteId, RouteKind, defaults},
};

/// Name of the rule that `spec.defaultBackend` is.
const DEFAULT_BACKEND: &str = "defaultBackend";

/// Judges an Ingress.
pub(super) fn prepare(ingress: &v1::Ingress) -> RouteObject {
    let meta = &ingress.metadata;
    let empty = v1::IngressSpec::default();
    let spec = ingress.spec.as_ref().unwrap_or(&empty);
    let mut warnings = Listed::default();
    let policy = annotation::policy(meta.annotations.as_ref(), &mut warnings);
    let class = class(ingress, spec, &mut warnings);
    if spec.tls.as_ref().is_some_and(|tls| !tls.is_empty()) {
        warnings.push(
            "spec.tls has no effect in this version, which serves plain HTTP only".to_owned(),
        );
    }
    let mut reader = Reader {
        id: prepare::object_id(RouteKind::Ingress, meta),
        policy: policy::share(policy),
        rules: Vec::new(),
        bare_hosts: Vec::new(),
        faults: Listed::default(),
        warnings,
    };
    let default = spec
        .default_backend
        .as_ref()
        .and_then(|backend| reader.default_backend(backend))
        .map(Box::new);
    for (index, rule) in spec.rules.iter().flatten().enumerate() {
        reader.rule(index, rule, spec.default_backend.as_ref());
    }
    if spec.default_backend.is_none() && spec.rules.as_ref().is_none_or(Vec::is_empty) {
        reader.faults.push(Fault::invalid(
            "spec",
            "there is no rule and no defaultBackend; write at least one",
        ));
    }
    reader.rules.shrink_to_fit();
    RouteObject {
        id: reader.id,
        version: prepare::version(meta),
        age: prepare::age(meta),
        class,
        rules: reader.rules,
        bare_hosts: reader.bare_hosts,
        default,
        faults: reader.faults,
        warnings: reader.warnings,
    }
}

/// The annotation is honoured where it is (types.go of `networking.k8s.io/v1`); the API server refuses a new
/// object with both.
fn class(ingress: &v1::Ingress, spec: &v1::IngressSpec, warnings: &mut Listed<String>) -> ClassRef {
    let annotations = ingress.metadata.annotations.as_ref();
    let legacy = annotations.and_then(|annotations| annotations.get(LEGACY_INGRESS_CLASS));
    match (legacy, &spec.ingress_class_name) {
        (Some(legacy), named) => {
            if named.is_some() {
                warnings.push(format!(
                    "both {LEGACY_INGRESS_CLASS} and spec.ingressClassName are set; the annotation counts, remove it"
                ));
            }
            ClassRef::Legacy(legacy.as_str().into())
        }
        (None, Some(named)) => ClassRef::Named(named.as_str().into()),
        (None, None) => ClassRef::Unset,
    }
}

struct Reader {
    id: ObjectId,
    policy: Arc<Policy>,
    rules: Vec<Rule>,
    bare_hosts: Vec<HostPattern>,
    faults: Listed<Fault>,
    warnings: Listed<String>,
}

impl Reader {
    fn route_id(&self, rule: Arc<str>) -> RouteId {
        RouteId {
            object: self.id.clone(),
            rule,
        }
    }

    fn default_backend(&mut self, backend: &v1::IngressBackend) -> Option<Rule> {
        let rule: Arc<str> = DEFAULT_BACKEND.into();
        match self.reference("spec.defaultBackend", backend) {
            Ok(reference) => Some(Rule::new(
                self.route_id(rule),
                Place::Default,
                [].into(),
                Vec::new(),
                Arc::clone(&self.policy),
                vec![reference],
            )),
            Err(fault) => {
                self.faults.push(fault.of_rule(&rule));
                None
            }
        }
    }

    fn rule(&mut self, index: usize, rule: &v1::IngressRule, default: Option<&v1::IngressBackend>) {
        let host = match rule.host.as_deref() {
            None | Some("") => HostPattern::Any,
            Some(raw) => match host::pattern(raw) {
                Ok(host) => host,
                Err(problem) => {
                    self.faults.push(Fault::invalid(
                        format!("spec.rules[{index}].host"),
                        format_args!("{}: {problem}", Quoted(raw)),
                    ));
                    return;
                }
            },
        };
        let Some(http) = &rule.http else {
            self.bare(index, host, default);
            return;
        };
        if http.paths.is_empty() {
            self.faults.push(Fault::invalid(
                format!("spec.rules[{index}].http.paths"),
                "there is no path; write at least one, or leave http out",
            ));
        }
        let hosts: Arc<[HostPattern]> = [host.clone()].into();
        for (item, path) in http.paths.iter().enumerate() {
            let raw = path.path.as_deref().unwrap_or_default();
            let name: Arc<str> = format!("{host}{raw}").into();
            let field = format!("spec.rules[{index}].http.paths[{item}]");
            let read = self.path(&field, path).and_then(|matched| {
                let reference = self.reference(&format!("{field}.backend"), &path.backend)?;
                Ok((matched, reference))
            });
            match read {
                Ok((path, reference)) => self.rules.push(Rule::new(
                    self.route_id(name),
                    Place::Path(index),
                    Arc::clone(&hosts),
                    vec![everything_at(path, item)],
                    Arc::clone(&self.policy),
                    vec![reference],
                )),
                Err(fault) => self.faults.push(fault.of_rule(&name)),
            }
        }
    }

    /// A rule that names a host and nothing else: its requests go to the `defaultBackend`, if the Ingress has
    /// one.
    fn bare(&mut self, index: usize, host: HostPattern, default: Option<&v1::IngressBackend>) {
        let reference = default.map(|backend| self.reference("spec.defaultBackend", backend));
        match reference {
            Some(Ok(reference)) => self.rules.push(Rule::new(
                self.route_id(DEFAULT_BACKEND.into()),
                Place::Bare(index),
                [host].into(),
                vec![everything_at(PathMatch::Prefix("/".into()), 0)],
                Arc::clone(&self.policy),
                vec![reference],
            )),
            // Reported where it is written.
            Some(Err(_)) => {}
            None => self.bare_hosts.push(host),
        }
    }

    fn path(&mut self, field: &str, path: &v1::HTTPIngressPath) -> Result<PathMatch, Fault> {
        let raw = path.path.as_deref().unwrap_or_default();
        let read = match &*path.path_type {
            "Exact" => path::exact(raw),
            "Prefix" => path::prefix(raw),
            "ImplementationSpecific" if raw.is_empty() => path::prefix("/"),
            "ImplementationSpecific" => {
                if raw.contains(['(', '[', '*', '^', '|', '\\']) {
                    self.warnings.push(format!(
                        "{field}.path: {} looks like a regular expression, but ImplementationSpecific is compared as Prefix; a WebSocketRoute has the path type Regex",
                        Quoted(raw)
                    ));
                }
                path::prefix(raw)
            }
            other => {
                return Err(Fault {
                    rule: None,
                    reason: Reason::UnsupportedValue,
                    field: format!("{field}.pathType"),
                    message: format!(
                        "{}: write Exact, Prefix or ImplementationSpecific",
                        Quoted(other)
                    ),
                });
            }
        };
        read.map_err(|problem| {
            Fault::invalid(
                format!("{field}.path"),
                format_args!("{}: {problem}", Quoted(raw)),
            )
        })
    }

    fn reference(&mut self, field: &str, backend: &v1::IngressBackend) -> Result<Ref, Fault> {
        let target = match (&backend.service, &backend.resource) {
            (Some(service), None) => RefTarget::Service {
                name: not_empty(&format!("{field}.service.name"), &service.name)?.into(),
                port: port(&format!("{field}.service.port"), service.port.as_ref())?,
            },
            (None, Some(resource)) => {
                let what = format!(
                    "{field}.resource: a backend of kind {} is not supported, requests get 500; use a Service",
                    Quoted(&resource.kind)
                );
                self.warnings.push_once(what.clone());
                RefTarget::Unsupported(what)
            }
            (Some(_), Some(_)) => {
                return Err(Fault::invalid(field, "write either service or resource"));
            }
            (None, None) => return Err(Fault::invalid(field, "there is no service; name one")),
        };
        Ok(Ref {
            target,
            weight: defaults::WEIGHT,
        })
    }
}

fn everything_at(path: PathMatch, item: usize) -> Match {
    Match {
        path,
        headers: Vec::new(),
        query: Vec::new(),
        item,
    }
}

fn not_empty<'a>(field: &str, text: &'a str) -> Result<&'a str, Fault> {
    if text.is_empty() {
        return Err(Fault::invalid(
            field,
            "it is empty; name a Service of the same namespace",
        ));
    }
    Ok(text)
}

fn port(field: &str, port: Option<&v1::ServiceBackendPort>) -> Result<Port, Fault> {
    let name = port
        .and_then(|port| port.name.as_deref())
        .filter(|name| !name.is_empty());
    let number = port
        .and_then(|port| port.number)
        .filter(|&number| number != 0);
    match (name, number) {
        (Some(name), None) => Ok(Port::Name(name.into())),
        (None, Some(number)) => u16::try_from(number).map(Port::Number).map_err(|_| {
            Fault::invalid(field, format_args!("{number} is no port; write 1 to 65535"))
        }),
        (Some(_), Some(_)) => Err(Fault::invalid(field, "write either name or number")),
        (None, None) => Err(Fault::invalid(
            field,
            "write the name or number of a port of the Service",
        )),
    }
}
