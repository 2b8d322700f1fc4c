//! All objects together, kept so that a change costs what it touches.
//!
//! ```text
//!   class ──────────► whose objects are ours
//!   Service, slice ─► warnings, ports ─► objects that refer to it      endpoints ─► its backends
//!   object ─► its references ─► hosts that it names ─► candidates, losers ─► verdicts
//! ```

use std::{
    borrow::Borrow,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use hashbrown::HashMap;

use super::{
    Options, Prepared, SourceKind, Verdict,
    backend::{Key, Services},
    class::{Classes, IngressClass},
    defaults::{Backstop, Defaults},
    endpoints::Slice,
    host_state::HostState,
    member::Member,
    prepare::{Item, RouteObject},
    uses::{Counted, Uses},
    verdict,
};
use crate::{
    api::ObjectKey,
    ir::{self, HostPattern, ObjectId, RouteKind},
};

/// All objects together. What it makes of them depends on the objects only, not on how they came to be there.
#[derive(Debug, Clone)]
pub struct Translator {
    options: Options,
    class_objects: BTreeMap<Arc<str>, Arc<IngressClass>>,
    classes: Classes,
    services: Services,
    slices: HashMap<Key, Arc<Slice>>,
    objects: HashMap<ObjectId, Known>,
    hosts: HashMap<HostPattern, HostState>,
    defaults: Defaults,
    uses: Uses,
}

/// A `WebSocketRoute` or an Ingress.
#[derive(Debug, Clone)]
enum Known {
    Ours(Arc<Member>),
    /// Another controller's.
    Foreign(Arc<RouteObject>),
}

impl Known {
    fn object(&self) -> &Arc<RouteObject> {
        match self {
            Self::Ours(member) => &member.object,
            Self::Foreign(object) => object,
        }
    }
}

/// What a change did.
#[derive(Debug, Default)]
pub struct Delta {
    /// What is served differently.
    pub config: ir::Delta,
    /// Verdicts that may be others now; `None` for an object that is gone.
    pub verdicts: BTreeMap<ObjectKey, Option<Verdict>>,
}

/// What a change has touched so far.
#[derive(Default)]
struct Work {
    classes: bool,
    services: BTreeSet<Key>,
    /// Objects to look at, with what they are now.
    objects: BTreeMap<ObjectId, Option<Arc<RouteObject>>>,
    hosts: BTreeSet<HostPattern>,
    /// Objects whose verdict may be another.
    judged: BTreeSet<ObjectId>,
}

impl Translator {
    /// Without objects.
    pub fn new(options: Options) -> Self {
        Self {
            services: Services::new(&options),
            classes: Classes::new(std::iter::empty(), &options),
            class_objects: BTreeMap::new(),
            slices: HashMap::new(),
            objects: HashMap::new(),
            hosts: HashMap::new(),
            defaults: Defaults::default(),
            uses: Uses::default(),
            options,
        }
    }

    /// Takes changes over: what each object is now, `None` for one that is gone.
    pub fn apply<K: Borrow<ObjectKey>>(
        &mut self,
        changes: impl IntoIterator<Item = (K, Option<Prepared>)>,
    ) -> Delta {
        let mut work = Work::default();
        for (key, change) in changes {
            self.take(key.borrow(), change, &mut work);
        }
        if work.classes {
            self.reclassify(&mut work);
        }
        let services = self.refresh(&mut work);
        let fallback = self.defaults.first().cloned();
        let mut namespaces = BTreeMap::new();
        for (id, object) in std::mem::take(&mut work.objects) {
            let namespace = &id.namespace;
            namespaces
                .entry(Arc::clone(namespace))
                .or_insert_with(|| self.defaults.of_namespace(namespace).cloned());
            self.replace(id, object, &mut work);
        }
        let mut delta = Delta::default();
        let mut counted = Counted::default();
        self.settle_fallback(fallback.as_ref(), &mut work, &mut delta, &mut counted);
        for (namespace, before) in namespaces {
            if !same_default(before.as_ref(), self.defaults.of_namespace(&namespace)) {
                work.hosts
                    .extend(self.defaults.hosts_of(&namespace).cloned());
            }
        }
        for host in std::mem::take(&mut work.hosts) {
            self.decide(host, &mut work, &mut delta, &mut counted);
        }
        self.settle_uses(&services, counted, &mut delta.config);
        for id in work.judged {
            delta.verdicts.insert(verdict::key(&id), self.verdict(&id));
        }
        delta
    }

    /// An object as it was given.
    pub fn get(&self, key: &ObjectKey) -> Option<Prepared> {
        let name = || Key(key.namespace.as_str().into(), key.name.as_str().into());
        Some(Prepared(match &*key.kind {
            "Service" => Item::Service(Arc::clone(self.services.get(&name())?)),
            "EndpointSlice" => Item::Slice(Arc::clone(self.slices.get(&name())?)),
            "IngressClass" => Item::Class(Arc::clone(self.class_objects.get(&*key.name)?)),
            _ => Item::Route(Arc::clone(self.objects.get(&object_id(key)?)?.object())),
        }))
    }

    /// Every object.
    pub fn list(&self) -> Vec<Prepared> {
        let classes = self
            .class_objects
            .values()
            .map(|it| Item::Class(Arc::clone(it)));
        let services = self.services.list().map(|it| Item::Service(Arc::clone(it)));
        let slices = self.slices.values().map(|it| Item::Slice(Arc::clone(it)));
        let objects = self
            .objects
            .values()
            .map(|it| Item::Route(Arc::clone(it.object())));
        let all = classes.chain(services).chain(slices).chain(objects);
        all.map(Prepared).collect()
    }

    /// Number of objects by kind.
    pub fn counts(&self) -> [(&'static str, usize); 5] {
        let routes = self.objects.keys();
        let ingresses = routes.filter(|id| id.kind == RouteKind::Ingress).count();
        [
            ("EndpointSlice", self.slices.len()),
            ("Ingress", ingresses),
            ("IngressClass", self.class_objects.len()),
            ("Service", self.services.list().count()),
            ("WebSocketRoute", self.objects.len() - ingresses),
        ]
    }

    /// What became of an object.
    pub fn verdict_of(&self, key: &ObjectKey) -> Option<Verdict> {
        self.verdict(&object_id(key)?)
    }

    /// Everything that is served.
    pub fn config(&self) -> ir::Config {
        let hosts = self.hosts.iter();
        let backends = self.uses.backends();
        ir::Config {
            hosts: hosts
                .map(|(pattern, host)| (pattern.clone(), ir::HostRoutes::clone(&host.routes)))
                .collect(),
            fallback: self.defaults.first().map(|(_, route)| Arc::clone(route)),
            backends: backends
                .map(|id| (id.clone(), self.services.backend(id)))
                .collect(),
        }
    }

    /// Every verdict, in the order of the objects' names.
    pub fn verdicts(&self) -> Vec<Verdict> {
        let ids: BTreeSet<_> = self.objects.keys().collect();
        ids.into_iter().filter_map(|id| self.verdict(id)).collect()
    }

    fn take(&mut self, key: &ObjectKey, change: Option<Prepared>, work: &mut Work) {
        let name = || Key(key.namespace.as_str().into(), key.name.as_str().into());
        match (change.map(|prepared| prepared.0), &*key.kind) {
            (Some(Item::Route(object)), _) => {
                work.objects.insert(object.id.clone(), Some(object));
            }
            (Some(Item::Class(class)), _) => {
                work.classes = true;
                self.class_objects.insert(Arc::clone(&class.name), class);
            }
            (Some(Item::Service(service)), _) => {
                let key = Key(Arc::clone(&service.namespace), Arc::clone(&service.name));
                self.services.set(&key, Some(service));
                work.services.insert(key);
            }
            (Some(Item::Slice(slice)), _) => self.set_slice(name(), Some(slice), work),
            (None, "Service") => {
                self.services.set(&name(), None);
                work.services.insert(name());
            }
            (None, "EndpointSlice") => self.set_slice(name(), None, work),
            (None, "IngressClass") => {
                work.classes |= self.class_objects.remove(&*key.name).is_some();
            }
            (None, _) => {
                if let Some(id) = object_id(key) {
                    work.objects.insert(id, None);
                }
            }
        }
    }

    fn set_slice(&mut self, name: Key, slice: Option<Arc<Slice>>, work: &mut Work) {
        let service = |slice: &Slice| {
            let service = slice.service.as_deref()?;
            Some(Key(Arc::clone(&slice.namespace), service.into()))
        };
        let old = match &slice {
            Some(slice) => self.slices.insert(name, Arc::clone(slice)),
            None => self.slices.remove(&name),
        };
        if let Some(old) = old
            && let Some(key) = service(&old)
        {
            self.services.remove_slice(&key, old.name());
            work.services.insert(key);
        }
        if let Some(slice) = slice
            && let Some(key) = service(&slice)
        {
            self.services.add_slice(&key, slice);
            work.services.insert(key);
        }
    }

    fn is_ours(&self, object: &RouteObject) -> bool {
        self.classes
            .is_ours(&self.options, object.id.kind, &object.class)
    }

    /// Classes are others: all objects may be somebody else's.
    fn reclassify(&mut self, work: &mut Work) {
        let classes = self.class_objects.values().map(|class| &**class);
        self.classes = Classes::new(classes, &self.options);
        for (id, known) in &self.objects {
            let was_ours = matches!(known, Known::Ours(_));
            if was_ours != self.is_ours(known.object()) {
                let same = || Some(Arc::clone(known.object()));
                work.objects.entry(id.clone()).or_insert_with(same);
            }
        }
    }

    /// Brings Services up to date and finds the objects that must look at them again. Returns the Services.
    fn refresh(&mut self, work: &mut Work) -> BTreeSet<Key> {
        let mut services = std::mem::take(&mut work.services);
        if let (SourceKind::Cluster, Some((namespace, name))) =
            (self.options.origin, &self.options.peer_service)
        {
            let peers = Key(namespace.as_str().into(), name.as_str().into());
            if services.contains(&peers) {
                services.extend(self.services.set_own(&self.options, &peers));
            }
        }
        for key in &services {
            for id in self.services.refresh(key) {
                if let Some(known) = self.objects.get(&id) {
                    let same = || Some(Arc::clone(known.object()));
                    work.objects.entry(id).or_insert_with(same);
                }
            }
        }
        services
    }

    /// An object is this now.
    fn replace(&mut self, id: ObjectId, object: Option<Arc<RouteObject>>, work: &mut Work) {
        let old = match self.objects.get(&id) {
            Some(Known::Ours(member)) => Some(Arc::clone(member)),
            _ => None,
        };
        let new = object
            .clone()
            .filter(|object| self.is_ours(object))
            .map(|object| Arc::new(Member::new(&object, &self.services, old.as_deref())));
        let routes_as_before = match (&old, &new) {
            (Some(old), Some(new)) => new.routes_as(old),
            (None, None) => true,
            _ => false,
        };
        if !routes_as_before {
            if let Some(old) = &old {
                self.leave(old, work);
            }
            if let Some(new) = &new {
                self.join(new, work);
            }
        }
        let known = match (new, object) {
            (Some(member), _) => Some(Known::Ours(member)),
            (None, Some(object)) => Some(Known::Foreign(object)),
            (None, None) => None,
        };
        match known {
            Some(known) => self.objects.insert(id.clone(), known),
            None => self.objects.remove(&id),
        };
        work.judged.insert(id);
    }

    fn leave(&mut self, member: &Member, work: &mut Work) {
        self.services.release(&member.object);
        self.defaults.remove(member);
        for host in member.hosts() {
            if let Some(state) = self.hosts.get_mut(host) {
                state.remove(member);
            }
            work.hosts.insert(host.clone());
        }
    }

    fn join(&mut self, member: &Arc<Member>, work: &mut Work) {
        self.services.enlist(&member.object);
        self.defaults.add(member);
        for host in member.hosts() {
            self.hosts.entry(host.clone()).or_default().add(member);
            work.hosts.insert(host.clone());
        }
    }

    /// The oldest `defaultBackend` of all may be another one.
    fn settle_fallback(
        &mut self,
        before: Option<&Backstop>,
        work: &mut Work,
        delta: &mut Delta,
        counted: &mut Counted,
    ) {
        let now = self.defaults.first();
        if same_default(before, now) {
            return;
        }
        let route = now.map(|(_, route)| route);
        self.uses.add(route, counted);
        self.uses.take(before.map(|(_, route)| route), counted);
        if before.map(|(_, route)| route) != route {
            delta.config.fallback = Some(route.cloned());
        }
        if self.hosts.contains_key(&HostPattern::Any) {
            work.hosts.insert(HostPattern::Any);
        }
        if before.map(|(id, _)| id) != now.map(|(id, _)| id) {
            work.judged.extend(self.defaults.all().cloned());
        }
    }

    /// Decides who serves what of a host.
    fn decide(
        &mut self,
        pattern: HostPattern,
        work: &mut Work,
        delta: &mut Delta,
        counted: &mut Counted,
    ) {
        let Some(state) = self.hosts.get_mut(&pattern) else {
            return;
        };
        let owner = state.owner().map(|owner| Arc::clone(&owner.namespace));
        let default = match (&pattern, &owner) {
            // No rule names these hosts.
            (HostPattern::Any, Some(_)) => self.defaults.first(),
            (_, Some(namespace)) => self.defaults.of_namespace(namespace),
            (_, None) => None,
        };
        let default = default.map(|(_, route)| Arc::clone(route));
        let before = Arc::clone(&state.routes);
        // A host without a route may be one that was just made.
        let known = self.defaults.knows(&pattern);
        work.judged.extend(state.decide(&pattern, default));
        let after = Arc::clone(&state.routes);
        self.uses.swap(&before, &after, counted);
        if owner.is_none() {
            self.hosts.remove(&pattern);
            if known {
                delta.config.hosts.insert(pattern.clone(), None);
            }
        } else if !known || !after.serves_as(&before) {
            delta.config.hosts.insert(pattern.clone(), Some(after));
        }
        work.judged.extend(self.defaults.owned_by(pattern, owner));
    }

    /// Rules and backends that came or went, and endpoints that are others.
    fn settle_uses(&self, services: &BTreeSet<Key>, counted: Counted, delta: &mut ir::Delta) {
        for (rule, was) in counted.rules {
            match (was, self.uses.has_rule(&rule)) {
                (false, true) => delta.added.push(rule),
                (true, false) => delta.removed.push(rule),
                _ => {}
            }
        }
        for (id, was) in counted.backends {
            match (was, self.uses.has_backend(&id)) {
                (false, true) => {
                    let backend = self.services.backend(&id);
                    delta.backends.insert(id, Some(backend));
                }
                (true, false) => {
                    delta.backends.insert(id, None);
                }
                _ => {}
            }
        }
        for Key(namespace, name) in services {
            for id in self.uses.of_service(namespace, name) {
                let backend = || Some(self.services.backend(id));
                delta.backends.entry(id.clone()).or_insert_with(backend);
            }
        }
    }

    /// Whether the Service of a backend is there.
    pub fn has_service(&self, id: &ir::BackendId) -> bool {
        let key = Key(Arc::clone(&id.namespace), Arc::clone(&id.service));
        self.services.get(&key).is_some()
    }

    fn verdict(&self, id: &ObjectId) -> Option<Verdict> {
        let member = match self.objects.get(id)? {
            Known::Foreign(object) => return Some(verdict::foreign(object)),
            Known::Ours(member) => member,
        };
        let winner =
            |host: &HostPattern, path: &ir::PathMatch| self.hosts.get(host)?.winner(id, path);
        Some(verdict::verdict(
            member,
            winner,
            &self.defaults,
            self.options.drain_window,
        ))
    }
}

fn same_default(before: Option<&Backstop>, now: Option<&Backstop>) -> bool {
    match (before, now) {
        (None, None) => true,
        (Some((id, route)), Some((other, now))) => id == other && Arc::ptr_eq(route, now),
        _ => false,
    }
}

/// Identity of a route object; `None` for an object of another kind.
fn object_id(key: &ObjectKey) -> Option<ObjectId> {
    let kinds = [RouteKind::WebSocketRoute, RouteKind::Ingress];
    let kind = kinds.into_iter().find(|kind| kind.as_str() == key.kind)?;
    Some(ObjectId {
        namespace: key.namespace.as_str().into(),
        name: key.name.as_str().into(),
        kind,
    })
}
