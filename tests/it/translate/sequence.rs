//! A change of some objects gives what all objects together give.

use std::collections::{BTreeMap, BTreeSet};

use hawser::{
    api::ObjectKey,
    ir::{Config, Delta, RouteId},
    translate::{Options, Prepared, SourceKind, Translator, Verdict, prepare, translate},
};
use proptest::{collection::vec, prelude::*};

use super::{objects::options, strategy};

/// What happens at a time: objects that are set, or gone.
type Batch = Vec<(ObjectKey, Option<Prepared>)>;

fn batches() -> impl Strategy<Value = Vec<Batch>> {
    let change = (strategy::object(), prop::bool::weighted(0.7)).prop_map(|(object, set)| {
        let prepared = prepare(&object);
        (prepared.key(), set.then_some(prepared))
    });
    vec(vec(change, 0..8), 1..8)
}

/// Everything that followers of the deltas know.
#[derive(Default)]
struct Followed {
    config: Config,
    rules: BTreeSet<RouteId>,
    verdicts: BTreeMap<ObjectKey, Verdict>,
}

impl Followed {
    fn follow(&mut self, delta: Delta) {
        for (host, routes) in delta.hosts {
            match routes {
                Some(routes) => self.config.hosts.insert(host, (*routes).clone()),
                None => self.config.hosts.remove(&host),
            };
        }
        if let Some(fallback) = delta.fallback {
            self.config.fallback = fallback;
        }
        for (id, backend) in delta.backends {
            match backend {
                Some(backend) => self.config.backends.insert(id, backend),
                None => self.config.backends.remove(&id),
            };
        }
        for id in delta.removed {
            assert!(self.rules.remove(&id), "{id:?} was not served");
        }
        for id in delta.added {
            assert!(self.rules.insert(id.clone()), "{id:?} was served");
        }
    }
}

fn rules(config: &Config) -> BTreeSet<RouteId> {
    let hosts = config.hosts.values();
    let routes = hosts.flat_map(|host| {
        let candidates = host.candidates.iter().map(|candidate| &candidate.route);
        candidates.chain(&host.default)
    });
    routes
        .chain(&config.fallback)
        .map(|route| route.id.clone())
        .collect()
}

fn check(batches: Vec<Batch>, options: &Options) -> Result<(), TestCaseError> {
    let mut translator = Translator::new(options.clone());
    let mut objects: BTreeMap<ObjectKey, Prepared> = BTreeMap::new();
    let mut followed = Followed::default();
    for batch in batches {
        for (key, object) in &batch {
            match object {
                Some(object) => objects.insert(key.clone(), object.clone()),
                None => objects.remove(key),
            };
        }
        let delta = translator.apply(batch);
        followed.follow(delta.config);
        for (key, verdict) in delta.verdicts {
            match verdict {
                Some(verdict) => followed.verdicts.insert(key, verdict),
                None => followed.verdicts.remove(&key),
            };
        }

        let anew = translate(objects.values(), options);
        prop_assert_eq!(&translator.config(), &anew.config);
        prop_assert_eq!(&translator.verdicts(), &anew.verdicts);
        prop_assert_eq!(&followed.config.backends, &anew.config.backends);
        prop_assert_eq!(&followed.config.fallback, &anew.config.fallback);
        prop_assert_eq!(&followed.rules, &rules(&anew.config));
        let hosts = anew.config.hosts.keys();
        prop_assert!(followed.config.hosts.keys().eq(hosts));
        for (host, routes) in &anew.config.hosts {
            prop_assert!(followed.config.hosts[host].serves_as(routes), "{}", host);
        }
        let told: Vec<_> = followed.verdicts.values().collect();
        let mut expected: Vec<_> = anew.verdicts.iter().collect();
        expected.sort_by(|a, b| a.object.cmp(&b.object));
        prop_assert_eq!(told, expected);

        prop_assert_eq!(translator.list().len(), objects.len());
        for (key, object) in &objects {
            prop_assert!(translator.get(key).is_some_and(|known| known.is(object)));
        }
        // What is as it was changes nothing.
        let again = translator.apply(objects.clone().into_iter().map(|(key, it)| (key, Some(it))));
        prop_assert!(!again.config.changes_table());
        prop_assert!(again.config.added.is_empty() && again.config.removed.is_empty());
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_changes_gives_what_all_objects_give(batches in batches()) {
        check(batches, &options())?;
    }

    #[test]
    fn the_same_for_a_cluster_with_own_addresses(batches in batches()) {
        let options = Options {
            origin: SourceKind::Cluster,
            own_addresses: vec![[10, 0, 0, 1].into()],
            peer_service: Some(("a".into(), "one".into())),
            watch_ingress_without_class: true,
            ..options()
        };
        check(batches, &options)?;
    }
}
