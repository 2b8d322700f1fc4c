//! References to Services: which backend a port is, and what is missing.

use std::{fmt, net::IpAddr, sync::Arc};

use hashbrown::{Equivalent, HashMap, HashSet};
use k8s_openapi::api::core::v1;

use super::{
    Options,
    endpoints::{self, Filter, Slice},
    fault::{Listed, Quoted},
    prepare::{self, Port, Ref, RefTarget, RouteObject, Rule},
};
use crate::{
    api::conditions::resolved_refs::{BACKEND_NOT_FOUND, PORT_NOT_FOUND},
    ir::{Backend, BackendId, BackendRef, ObjectId, Route, Target},
};

/// A Service.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) namespace: Arc<str>,
    pub(super) name: Arc<str>,
    /// An alias in DNS: there are no endpoints to be had.
    external: bool,
    /// TCP ports: name (empty for an unnamed one) and number.
    ports: Box<[(Box<str>, u16)]>,
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
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key(pub(super) Arc<str>, pub(super) Arc<str>);

/// A key to look with.
#[derive(Hash)]
struct Wanted<'q>(&'q str, &'q str);

impl Equivalent<Key> for Wanted<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        (self.0, self.1) == (&*key.0, &*key.1)
    }
}

/// All Services with their slices and the objects that refer to them.
#[derive(Debug, Clone)]
pub(super) struct Services {
    known: HashMap<Key, Known>,
    filter: Filter,
}

/// A Service, or what is known of one that is not there.
#[derive(Debug, Default, Clone)]
struct Known {
    service: Option<Arc<Service>>,
    /// By name.
    slices: Vec<Arc<Slice>>,
    /// Objects that refer to it.
    users: HashSet<ObjectId>,
    /// The Service itself is another since the last [`Services::refresh`].
    replaced: bool,
    /// What the users of the Service should know, or only those of one of its ports. Bounded: every reference
    /// to the Service looks through all of it.
    warnings: Listed<(Option<u16>, String)>,
}

impl Services {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            known: HashMap::new(),
            filter: Filter {
                origin: options.origin,
                own: options
                    .own_addresses
                    .iter()
                    .map(IpAddr::to_canonical)
                    .collect(),
            },
        }
    }

    /// Every Service that is there.
    pub(super) fn list(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.known
            .values()
            .filter_map(|known| known.service.as_ref())
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Arc<Service>> {
        self.known.get(key)?.service.as_ref()
    }

    /// Replaces a Service. To be refreshed afterwards, like all that follows.
    pub(super) fn set(&mut self, key: &Key, service: Option<Arc<Service>>) {
        let known = self.known.entry(key.clone()).or_default();
        known.service = service;
        known.replaced = true;
    }

    /// Adds a slice to its Service.
    pub(super) fn add_slice(&mut self, key: &Key, slice: Arc<Slice>) {
        let slices = &mut self.known.entry(key.clone()).or_default().slices;
        match slices.binary_search_by(|known| known.name().cmp(slice.name())) {
            Ok(place) => {
                if let Some(known) = slices.get_mut(place) {
                    *known = slice;
                }
            }
            Err(place) => slices.insert(place, slice),
        }
    }

    /// Takes a slice from its Service.
    pub(super) fn remove_slice(&mut self, key: &Key, name: &str) {
        if let Some(known) = self.known.get_mut(key) {
            known.slices.retain(|slice| slice.name() != name);
        }
    }

    /// An object refers to the Services that it names.
    pub(super) fn enlist(&mut self, object: &RouteObject) {
        for name in object.services() {
            let key = Key(Arc::clone(&object.id.namespace), Arc::clone(name));
            let known = self.known.entry(key).or_default();
            known.users.insert(object.id.clone());
        }
    }

    /// It no longer does.
    pub(super) fn release(&mut self, object: &RouteObject) {
        for name in object.services() {
            let key = Wanted(&object.id.namespace, name);
            if let Some(known) = self.known.get_mut(&key) {
                known.users.remove(&object.id);
                if known.is_empty() {
                    self.known.remove(&key);
                }
            }
        }
    }

    /// Takes the addresses of the other replicas as Hawser's own. Returns the Services that have one of those
    /// that came or went.
    pub(super) fn set_own(&mut self, options: &Options, peers: &Key) -> Vec<Key> {
        let slices = self.known.get(peers).map(|known| &known.slices);
        let addresses = slices
            .into_iter()
            .flatten()
            .flat_map(|slice| slice.addresses());
        let given = options.own_addresses.iter().map(IpAddr::to_canonical);
        let own: HashSet<IpAddr> = addresses.chain(given).collect();
        if own == self.filter.own {
            return Vec::new();
        }
        let moved: HashSet<IpAddr> = own
            .symmetric_difference(&self.filter.own)
            .copied()
            .collect();
        self.filter.own = own;
        let meets = |known: &Known| {
            let mut addresses = known.slices.iter().flat_map(|slice| slice.addresses());
            addresses.any(|address| moved.contains(&address))
        };
        let met = self.known.iter().filter(|(_, known)| meets(known));
        met.map(|(key, _)| key.clone()).collect()
    }

    /// Brings what is known of a Service up to date. Returns the objects that must look at it again.
    pub(super) fn refresh(&mut self, key: &Key) -> Vec<ObjectId> {
        let Some(known) = self.known.get_mut(key) else {
            return Vec::new();
        };
        if known.is_empty() {
            self.known.remove(key);
            return Vec::new();
        }
        let warnings = known.warn(&self.filter);
        let replaced = std::mem::take(&mut known.replaced);
        if !replaced && warnings == known.warnings {
            return Vec::new();
        }
        known.warnings = warnings;
        known.users.iter().cloned().collect()
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
    ) -> Result<(&Known, u16), Missing<'_>> {
        let known = self
            .known
            .get(&Wanted(namespace, name))
            .ok_or(Missing::Service)?;
        let service = known.service.as_deref().ok_or(Missing::Service)?;
        if service.external {
            return Err(Missing::External);
        }
        let port = service.port(wanted);
        let (_, number) = port.ok_or(Missing::Port(service))?;
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

    /// A backend with its endpoints.
    pub(super) fn backend(&self, id: &BackendId) -> Backend {
        let known = self.known.get(&Wanted(&id.namespace, &id.service));
        let endpoints = known.and_then(|known| {
            let service = known.service.as_ref()?;
            let (name, _) = service.port(&Port::Number(id.port))?;
            Some(endpoints::endpoints(&known.slices, name, &self.filter))
        });
        Backend {
            endpoints: endpoints.unwrap_or_default(),
        }
    }
}

impl Known {
    fn is_empty(&self) -> bool {
        self.service.is_none() && self.slices.is_empty() && self.users.is_empty()
    }

    /// What the users of the Service should know.
    fn warn(&self, filter: &Filter) -> Listed<(Option<u16>, String)> {
        let mut warnings = Listed::default();
        let Some(service) = &self.service else {
            return warnings;
        };
        for slice in &self.slices {
            for warning in slice.warnings(filter) {
                warnings.push((None, warning));
            }
        }
        if !self.slices.iter().any(|slice| slice.has_addresses()) {
            return warnings;
        }
        let names: HashSet<&str> = self
            .slices
            .iter()
            .flat_map(|slice| slice.port_names())
            .collect();
        for (name, number) in &service.ports {
            if !names.contains(&**name) {
                let warning = format!(
                    "no EndpointSlice of Service {}/{} has a port with the name {} that the Service gives its port {number}",
                    service.namespace,
                    service.name,
                    Quoted(name),
                );
                warnings.push((Some(*number), warning));
            }
        }
        warnings
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
