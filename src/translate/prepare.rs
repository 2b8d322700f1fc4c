//! One object at a time: everything that can be judged without the others, in a compact form without
//! Kubernetes types.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{
    backend::Service,
    class::{ClassRef, IngressClass},
    endpoints::Slice,
    fault::{Fault, Listed},
    ingress, websocket_route,
};
use crate::{
    api,
    ir::{self, HostPattern, PathMatch, Policy, RouteId, RouteKind},
};

/// One object, checked on its own and reduced to what routing needs. Sources keep these, so a change
/// costs only the objects that changed. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Prepared(pub(super) Item);

/// What an object is to routing.
#[derive(Debug, Clone)]
pub(super) enum Item {
    Route(Arc<RouteObject>),
    Class(Arc<IngressClass>),
    Service(Arc<Service>),
    Slice(Arc<Slice>),
}

/// A `WebSocketRoute` or an Ingress.
#[derive(Debug)]
pub(super) struct RouteObject {
    pub(super) id: ir::ObjectId,
    pub(super) version: ir::ObjectVersion,
    pub(super) age: ir::Age,
    pub(super) class: ClassRef,
    /// The valid rules.
    pub(super) rules: Vec<Rule>,
    /// Hosts of Ingress rules that name no path.
    pub(super) bare_hosts: Vec<HostPattern>,
    /// `spec.defaultBackend` of an Ingress.
    pub(super) default: Option<Box<Rule>>,
    /// What was left out, and why.
    pub(super) faults: Listed<Fault>,
    pub(super) warnings: Listed<String>,
}

impl RouteObject {
    /// Every rule, the `defaultBackend` last.
    pub(super) fn all_rules(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter().chain(self.default.as_deref())
    }

    /// Names of the Services that it refers to, some several times.
    pub(super) fn services(&self) -> impl Iterator<Item = &Arc<str>> {
        let refs = self.all_rules().flat_map(|rule| &rule.refs);
        refs.filter_map(|reference| match &reference.target {
            RefTarget::Service { name, .. } => Some(name),
            RefTarget::Unsupported(_) => None,
        })
    }
}

impl Prepared {
    /// The object.
    pub fn key(&self) -> api::ObjectKey {
        let key = |kind: &str, namespace: &str, name: &str| api::ObjectKey {
            kind: kind.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        match &self.0 {
            Item::Route(it) => key(it.id.kind.as_str(), &it.id.namespace, &it.id.name),
            Item::Class(it) => key("IngressClass", "", &it.name),
            Item::Service(it) => key("Service", &it.namespace, &it.name),
            Item::Slice(it) => key("EndpointSlice", &it.namespace, it.name()),
        }
    }

    /// Its version; that of an object that is not judged is the default.
    pub fn version(&self) -> ir::ObjectVersion {
        match &self.0 {
            Item::Route(it) => it.version.clone(),
            Item::Class(_) | Item::Service(_) | Item::Slice(_) => ir::ObjectVersion::default(),
        }
    }

    /// Whether both are routes, and name different classes.
    pub fn names_another_class_than(&self, other: &Self) -> bool {
        matches!((&self.0, &other.0), (Item::Route(a), Item::Route(b)) if a.class != b.class)
    }

    /// Whether both are the result of one and the same [`prepare`].
    pub fn is(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Item::Route(a), Item::Route(b)) => Arc::ptr_eq(a, b),
            (Item::Class(a), Item::Class(b)) => Arc::ptr_eq(a, b),
            (Item::Service(a), Item::Service(b)) => Arc::ptr_eq(a, b),
            (Item::Slice(a), Item::Slice(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

/// A rule of a `WebSocketRoute`, a path of an Ingress, or a `defaultBackend`.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) id: RouteId,
    pub(super) place: Place,
    pub(super) hosts: Arc<[HostPattern]>,
    pub(super) matches: Vec<Match>,
    pub(super) policy: Arc<Policy>,
    pub(super) refs: Vec<Ref>,
    /// The route if all references resolve; `None` when one must be looked up by name. It makes an unchanged
    /// rule cost one reference count.
    pub(super) resolved: Option<Arc<ir::Route>>,
}

/// Where in its object a rule is written.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place {
    /// A rule of a `WebSocketRoute`.
    Rule(usize),
    /// A path of the rule of an Ingress.
    Path(usize),
    /// A rule of an Ingress without paths: all of its host goes to the `defaultBackend`.
    Bare(usize),
    /// `spec.defaultBackend`.
    Default,
}

impl Place {
    /// Place of the rule in the object.
    pub(super) fn index(self) -> usize {
        match self {
            Self::Rule(index) | Self::Path(index) | Self::Bare(index) => index,
            Self::Default => usize::MAX,
        }
    }
}

/// One match of a rule.
#[derive(Debug)]
pub(super) struct Match {
    pub(super) path: PathMatch,
    pub(super) headers: Vec<ir::HeaderMatch>,
    pub(super) query: Vec<ir::QueryMatch>,
    /// Place of the match in the rule.
    pub(super) item: usize,
}

/// A reference to a backend.
#[derive(Debug)]
pub(super) struct Ref {
    pub(super) target: RefTarget,
    pub(super) weight: u32,
}

/// What a reference names.
#[derive(Debug)]
pub(super) enum RefTarget {
    Service {
        name: Arc<str>,
        port: Port,
    },
    /// Nothing that Hawser could send a request to; the text says what.
    Unsupported(String),
}

/// A port of a Service.
#[derive(Debug)]
pub(super) enum Port {
    Number(u16),
    Name(Box<str>),
}

impl Rule {
    /// Puts a rule together and resolves what needs no other object.
    pub(super) fn new(
        id: RouteId,
        place: Place,
        hosts: Arc<[HostPattern]>,
        mut matches: Vec<Match>,
        policy: Arc<Policy>,
        mut refs: Vec<Ref>,
    ) -> Self {
        #[cfg(test)]
        poison(&id);
        // Most rules have one of each, and vectors that grow have room for four.
        matches.shrink_to_fit();
        refs.shrink_to_fit();
        let backends = refs
            .iter()
            .map(|reference| {
                let target = match &reference.target {
                    RefTarget::Service {
                        name,
                        port: Port::Number(port),
                    } => ir::Target::Backend(ir::BackendId {
                        namespace: Arc::clone(&id.object.namespace),
                        service: Arc::clone(name),
                        port: *port,
                    }),
                    RefTarget::Unsupported(what) => ir::Target::Missing(what.clone()),
                    RefTarget::Service { .. } => return None,
                };
                Some(ir::BackendRef {
                    target,
                    weight: reference.weight,
                })
            })
            .collect::<Option<Vec<_>>>();
        let resolved = backends.map(|mut backends| {
            backends.shrink_to_fit();
            Arc::new(ir::Route {
                id: id.clone(),
                backends,
                policy: Arc::clone(&policy),
            })
        });
        Self {
            id,
            place,
            hosts,
            matches,
            policy,
            refs,
            resolved,
        }
    }

    /// Path of the field that a match comes from.
    pub(super) fn match_field(&self, item: usize) -> String {
        match self.place {
            Place::Rule(rule) => format!("spec.rules[{rule}].matches[{item}]"),
            Place::Path(rule) => format!("spec.rules[{rule}].http.paths[{item}]"),
            Place::Bare(rule) => format!("spec.rules[{rule}]"),
            Place::Default => "spec.defaultBackend".to_owned(),
        }
    }

    /// Path of the field that a reference comes from.
    pub(super) fn ref_field(&self, index: usize) -> String {
        match (&self.place, self.matches.first()) {
            (Place::Rule(rule), _) => format!("spec.rules[{rule}].backendRefs[{index}]"),
            (Place::Path(_), Some(path)) => {
                format!("{}.backend.service", self.match_field(path.item))
            }
            _ => "spec.defaultBackend.service".to_owned(),
        }
    }
}

/// Checks one object on its own.
pub fn prepare(object: &api::Object) -> Prepared {
    Prepared(match object {
        api::Object::WebSocketRoute(route) => {
            Item::Route(Arc::new(websocket_route::prepare(route)))
        }
        api::Object::Ingress(ingress) => Item::Route(Arc::new(ingress::prepare(ingress))),
        api::Object::IngressClass(class) => Item::Class(Arc::new(IngressClass::new(class))),
        api::Object::Service(service) => Item::Service(Arc::new(Service::new(service))),
        api::Object::EndpointSlice(slice) => Item::Slice(Arc::new(Slice::new(slice))),
    })
}

/// Namespace that an object without one is in.
const DEFAULT_NAMESPACE: &str = "default";

/// Namespace of a namespaced object.
pub(super) fn namespace(meta: &ObjectMeta) -> Arc<str> {
    meta.namespace
        .as_deref()
        .filter(|namespace| !namespace.is_empty())
        .unwrap_or(DEFAULT_NAMESPACE)
        .into()
}

/// Name of an object.
pub(super) fn name(meta: &ObjectMeta) -> Arc<str> {
    meta.name.as_deref().unwrap_or_default().into()
}

/// Identity of a route object.
pub(super) fn object_id(kind: RouteKind, meta: &ObjectMeta) -> ir::ObjectId {
    ir::ObjectId {
        namespace: namespace(meta),
        name: name(meta),
        kind,
    }
}

/// Version of an object.
pub(super) fn version(meta: &ObjectMeta) -> ir::ObjectVersion {
    ir::ObjectVersion {
        uid: meta.uid.as_deref().unwrap_or_default().into(),
        generation: meta.generation.unwrap_or_default(),
    }
}

/// Age of an object.
pub(super) fn age(meta: &ObjectMeta) -> ir::Age {
    meta.creation_timestamp
        .as_ref()
        .map_or(ir::Age::Unknown, |time| {
            ir::Age::Created(time.0.as_second())
        })
}

/// Stands for a mistake in what looks at one object alone.
#[cfg(test)]
fn poison(id: &RouteId) {
    assert!(&*id.rule != "poison-alone", "injected");
}
