//! References to Services: which backend a port is, and what is missing.

use std::{collections::BTreeMap, fmt, sync::Arc};

use hashbrown::{Equivalent, HashMap, HashSet};
use k8s_openapi::api::core::v1;

use super::{
    SourceKind,
    endpoints::{self, Slice},
    fault::{Listed, Quoted},
    inputs::Inputs,
    prepare::{self, Port, Ref, RefTarget, Rule},
};
use crate::{
    api::conditions::resolved_refs::{BACKEND_NOT_FOUND, PORT_NOT_FOUND},
    ir::{Backend, BackendId, BackendRef, Route, Target},
};

/// A Service.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) namespace: Arc<str>,
    pub(super) name: Arc<str>,
    /// An alias in DNS: there are no endpoints to be had.
    external: bool,
    /// TCP ports: name (empty for an unnamed one) and number.
    ports: Vec<(Box<str>, u16)>,
}

impl Service {
    pub(super) fn new(service: &v1::Service) -> Self {
        let spec = service.spec.as_ref();
        let ports = spec
            .and_then(|spec| spec.ports.as_deref())
            .unwrap_or_default();
        let tcp = ports
            .iter()
            .filter(|port| port.protocol.as_deref().unwrap_or("TCP") == "TCP")
            .filter_map(|port| {
                let number = u16::try_from(port.port).ok().filter(|&number| number > 0)?;
                Some((port.name.as_deref().unwrap_or_default().into(), number))
            });
        Self {
            namespace: prepare::namespace(&service.metadata),
            name: prepare::name(&service.metadata),
            external: spec.and_then(|spec| spec.type_.as_deref()) == Some("ExternalName"),
            ports: tcp.collect(),
        }
    }

    fn port(&self, wanted: &Port) -> Option<&(Box<str>, u16)> {
        self.ports.iter().find(|(name, number)| match wanted {
            Port::Number(wanted) => number == wanted,
            Port::Name(wanted) => name == wanted,
        })
    }

    /// The ports for a message.
    fn shown_ports(&self) -> String {
        if self.ports.is_empty() {
            return "it has no TCP port".to_owned();
        }
        let shown = self.ports.iter().take(8).map(|(name, number)| {
            if name.is_empty() {
                number.to_string()
            } else {
                format!("{number} ({name})")
            }
        });
        format!("it has {}", shown.collect::<Vec<_>>().join(", "))
    }
}

/// A reference that leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unresolved {
    /// A word of the closed list.
    pub(super) reason: &'static str,
    /// What is missing.
    pub(super) message: String,
}

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Namespace and name of a Service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key<'a>(&'a str, &'a str);

/// A key to look with, which need not live as long as the map.
#[derive(Hash)]
struct Wanted<'q>(&'q str, &'q str);

impl Equivalent<Key<'_>> for Wanted<'_> {
    fn equivalent(&self, key: &Key<'_>) -> bool {
        (self.0, self.1) == (key.0, key.1)
    }
}

/// All Services with their slices.
#[derive(Debug)]
pub(super) struct Backends<'a> {
    services: HashMap<Key<'a>, Known<'a>>,
    origin: SourceKind,
}

/// A Service with its slices.
#[derive(Debug)]
struct Known<'a> {
    service: &'a Service,
    slices: Vec<&'a Slice>,
    /// What the users of the Service should know, or only those of one of its ports. Bounded: every reference
    /// to the Service looks through all of it.
    warnings: Listed<(Option<u16>, String)>,
}

impl<'a> Backends<'a> {
    pub(super) fn new(inputs: &Inputs<'a>, origin: SourceKind) -> Self {
        let mut services: HashMap<Key<'a>, Known<'a>> =
            HashMap::with_capacity(inputs.services.len());
        for &service in &inputs.services {
            let known = Known {
                service,
                slices: Vec::new(),
                warnings: Listed::default(),
            };
            services.insert(Key(&service.namespace, &service.name), known);
        }
        for &slice in &inputs.slices {
            let service = slice.service.as_deref();
            let key = service.map(|service| Wanted(&slice.namespace, service));
            if let Some(known) = key.and_then(|key| services.get_mut(&key)) {
                known.slices.push(slice);
            }
        }
        services.values_mut().for_each(|known| known.warn(origin));
        Self { services, origin }
    }

    /// The route of a rule, with what is missing marked. Calls `unresolved` with the index of each reference
    /// that leads nowhere.
    pub(super) fn resolve(
        &self,
        rule: &Rule,
        mut unresolved: impl FnMut(usize, Unresolved),
        warnings: &mut Listed<String>,
    ) -> Arc<Route> {
        let namespace = &rule.id.object.namespace;
        let mut exists = |reference: &Ref| match &reference.target {
            RefTarget::Unsupported(_) => true,
            RefTarget::Service { name, port } => match self.find(namespace, name, port) {
                Err(_) => false,
                Ok((known, port)) => {
                    known.warnings_of(port).for_each(|warning| {
                        warnings.push_once(warning.clone());
                    });
                    true
                }
            },
        };
        // All of them, for their warnings.
        let found = rule
            .refs
            .iter()
            .filter(|reference| exists(reference))
            .count();
        if let Some(route) = &rule.resolved
            && found == rule.refs.len()
        {
            return Arc::clone(route);
        }
        let mut target = |(index, reference): (usize, &Ref)| match &reference.target {
            RefTarget::Unsupported(what) => Target::Missing(what.clone()),
            RefTarget::Service { name, port } => match self.find(namespace, name, port) {
                Ok((_, port)) => Target::Backend(BackendId {
                    namespace: Arc::clone(namespace),
                    service: Arc::clone(name),
                    port,
                }),
                Err(missing) => {
                    let missing = Self::explain(namespace, name, port, &missing);
                    let message = missing.message.clone();
                    unresolved(index, missing);
                    Target::Missing(message)
                }
            },
        };
        let backends = rule.refs.iter().enumerate().map(|reference| BackendRef {
            weight: reference.1.weight,
            target: target(reference),
        });
        Arc::new(Route {
            id: rule.id.clone(),
            backends: backends.collect(),
            policy: Arc::clone(&rule.policy),
        })
    }

    /// A Service and the number of a port of it.
    fn find(
        &self,
        namespace: &str,
        name: &str,
        wanted: &Port,
    ) -> Result<(&Known<'a>, u16), Missing<'a>> {
        let known = self
            .services
            .get(&Wanted(namespace, name))
            .ok_or(Missing::Service)?;
        if known.service.external {
            return Err(Missing::External);
        }
        let port = known.service.port(wanted);
        let (_, number) = port.ok_or(Missing::Port(known.service))?;
        Ok((known, *number))
    }

    /// The same for people.
    fn explain(namespace: &str, name: &str, wanted: &Port, missing: &Missing<'_>) -> Unresolved {
        match missing {
            Missing::Service => Unresolved {
                reason: BACKEND_NOT_FOUND,
                message: format!("there is no Service {namespace}/{name}"),
            },
            Missing::External => Unresolved {
                reason: BACKEND_NOT_FOUND,
                message: format!(
                    "Service {namespace}/{name} is an ExternalName, which has no endpoints; use a Service with a selector or with EndpointSlices"
                ),
            },
            Missing::Port(service) => Unresolved {
                reason: PORT_NOT_FOUND,
                message: format!(
                    "Service {namespace}/{name} has no TCP port {}; {}",
                    match wanted {
                        Port::Number(number) => number.to_string(),
                        Port::Name(name) => Quoted(name).to_string(),
                    },
                    service.shown_ports()
                ),
            },
        }
    }

    /// The backends that routes refer to, with their endpoints.
    pub(super) fn build<'r>(
        &self,
        routes: impl Iterator<Item = &'r Arc<Route>>,
    ) -> BTreeMap<BackendId, Backend> {
        let targets = routes.flat_map(|route| &route.backends);
        let mut ids: Vec<&BackendId> = targets
            .filter_map(|reference| match &reference.target {
                Target::Backend(id) => Some(id),
                Target::Missing(_) => None,
            })
            .collect();
        ids.sort_unstable();
        ids.dedup();
        ids.into_iter()
            .map(|id| (id.clone(), self.backend(id)))
            .collect()
    }

    fn backend(&self, id: &BackendId) -> Backend {
        let known = self.services.get(&Wanted(&id.namespace, &id.service));
        let endpoints = known.and_then(|known| {
            let (name, _) = known.service.port(&Port::Number(id.port))?;
            Some(endpoints::endpoints(&known.slices, name, self.origin))
        });
        Backend {
            endpoints: endpoints.unwrap_or_default(),
        }
    }
}

impl Known<'_> {
    /// Finds out once what the users of the Service should know.
    fn warn(&mut self, origin: SourceKind) {
        for slice in &self.slices {
            for warning in slice.warnings(origin) {
                self.warnings.push((None, warning));
            }
        }
        if !self.slices.iter().any(|slice| slice.has_addresses()) {
            return;
        }
        let names: HashSet<&str> = self
            .slices
            .iter()
            .flat_map(|slice| slice.port_names())
            .collect();
        for (name, number) in &self.service.ports {
            if !names.contains(&**name) {
                let warning = format!(
                    "no EndpointSlice of Service {}/{} has a port with the name {} that the Service gives its port {number}",
                    self.service.namespace,
                    self.service.name,
                    Quoted(name),
                );
                self.warnings.push((Some(*number), warning));
            }
        }
    }

    fn warnings_of(&self, port: u16) -> impl Iterator<Item = &String> {
        let warnings = self.warnings.iter();
        warnings
            .filter(move |(of, _)| of.is_none_or(|of| of == port))
            .map(|(_, warning)| warning)
    }
}

/// Why a reference leads nowhere.
enum Missing<'a> {
    Service,
    External,
    Port(&'a Service),
}
