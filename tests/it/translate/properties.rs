//! What holds for all objects.

use std::collections::BTreeSet;

use hawser::{
    api::Object,
    ir::{Age, Candidate, HostPattern, RouteId, Target},
    translate::Output,
};
use proptest::{prelude::*, sample::Index};

use super::{
    lookup::{Hit, Request, find},
    objects::{options, run},
    strategy::objects,
};

/// Hosts that the object's rules are for, as far as the configuration without others shows.
fn hosts_of(object: &Object, all: &[Object]) -> BTreeSet<HostPattern> {
    // Classes decide whether it is ours.
    let mut alone = vec![object.clone()];
    alone.extend(
        all.iter()
            .filter(|it| matches!(it, Object::IngressClass(_)))
            .cloned(),
    );
    run(&alone, &options()).config.hosts.into_keys().collect()
}

fn is_route(object: &Object) -> bool {
    matches!(object, Object::WebSocketRoute(_) | Object::Ingress(_))
}

fn has_default(object: &Object) -> bool {
    match object {
        Object::Ingress(ingress) => ingress
            .spec
            .as_ref()
            .is_some_and(|spec| spec.default_backend.is_some()),
        _ => false,
    }
}

fn meta(object: &Object) -> &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
    match object {
        Object::WebSocketRoute(route) => &route.metadata,
        Object::Ingress(ingress) => &ingress.metadata,
        Object::IngressClass(class) => &class.metadata,
        Object::Service(service) => &service.metadata,
        Object::EndpointSlice(slice) => &slice.metadata,
    }
}

/// What decides between namespaces: age, then `namespace/name`.
fn seniority(object: &Object) -> (Age, String, String) {
    let meta = meta(object);
    let age = meta
        .creation_timestamp
        .as_ref()
        .map_or(Age::Unknown, |time| Age::Created(time.0.as_second()));
    (
        age,
        meta.namespace.clone().unwrap_or_default(),
        meta.name.clone().unwrap_or_default(),
    )
}

fn requests() -> impl Strategy<Value = Request> {
    use proptest::sample::select;
    (
        select(vec![
            "h.test", "i.test", "j.test", "x.h.test", "x.i.test", "other",
        ]),
        select(vec!["/", "/a", "/a/", "/a/b", "/a/b/c", "/a.", "/b"]),
        proptest::sample::subsequence(vec![("x-a", "1"), ("x-a", "2"), ("x-b", "1")], 0..=3),
        any::<bool>(),
    )
        .prop_map(|(host, path, headers, handshake)| Request {
            host,
            path,
            headers,
            handshake,
        })
}

fn namespace_of(hit: &Hit) -> Option<&str> {
    hit.route.as_ref().map(|route| &*route.id.object.namespace)
}

fn ranks_ascend(candidates: &[Candidate]) -> bool {
    let key = |it: &Candidate| it.rank.clone();
    candidates.windows(2).all(|pair| {
        let [a, b] = pair else { return true };
        let paths = a.path.precedence().cmp(&b.path.precedence());
        paths.then_with(|| key(a).cmp(&key(b))).is_le()
    })
}

fn check_shape(objects: &[Object], output: &Output) -> Result<(), TestCaseError> {
    let routes = objects.iter().filter(|object| is_route(object)).count();
    prop_assert_eq!(output.verdicts.len(), routes);
    let served: BTreeSet<RouteId> = output
        .config
        .hosts
        .values()
        .flat_map(|host| &host.candidates)
        .map(|candidate| candidate.route.id.clone())
        .collect();
    for verdict in &output.verdicts {
        let condition = |type_: &str| verdict.conditions.iter().find(|it| it.type_ == type_);
        prop_assert_eq!(verdict.ours, !verdict.conditions.is_empty());
        let accepted = condition("Accepted").is_some_and(|it| it.status);
        let has_rule = served.iter().any(|id| {
            id.object.kind.as_str() == verdict.object.kind
                && *id.object.namespace == *verdict.object.namespace
                && *id.object.name == *verdict.object.name
        });
        prop_assert!(accepted || !has_rule, "{:?} is served", verdict.object);
        if verdict.ours && !accepted {
            let programmed = condition("Programmed").map(|it| (it.status, it.reason));
            prop_assert_eq!(programmed, Some((false, "NoValidRule")));
            prop_assert!(condition("PartiallyInvalid").is_none());
        }
    }
    for (host, routes) in &output.config.hosts {
        prop_assert!(ranks_ascend(&routes.candidates), "{} is out of order", host);
        for candidate in &routes.candidates {
            prop_assert!(!candidate.route.backends.is_empty());
            for reference in &candidate.route.backends {
                if let Target::Backend(id) = &reference.target {
                    prop_assert!(output.config.backends.contains_key(id));
                }
            }
            // Between namespaces there is no sharing.
            let owner = &candidate.route.id.object.namespace;
            let same_path = routes
                .candidates
                .iter()
                .filter(|it| it.path == candidate.path);
            for other in same_path {
                prop_assert_eq!(owner, &other.route.id.object.namespace);
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_objects_give_a_sound_output(objects in objects()) {
        check_shape(&objects, &run(&objects, &options()))?;
    }

    #[test]
    fn the_order_of_inputs_does_not_matter(
        (sorted, shuffled) in objects().prop_flat_map(|objects| {
            (Just(objects.clone()), Just(objects).prop_shuffle())
        })
    ) {
        let (a, b) = (run(&sorted, &options()), run(&shuffled, &options()));
        prop_assert_eq!(a.config, b.config);
        prop_assert_eq!(a.verdicts, b.verdicts);
    }

    #[test]
    fn removing_an_object_leaves_other_hosts_alone(objects in objects(), which in any::<Index>()) {
        let routes: Vec<_> = (0..objects.len()).filter(|&at| is_route(&objects[at])).collect();
        prop_assume!(!routes.is_empty());
        let removed = *which.get(&routes);
        let own = hosts_of(&objects[removed], &objects);
        let mut fewer = objects.clone();
        fewer.remove(removed);
        let (before, after) = (run(&objects, &options()).config, run(&fewer, &options()).config);
        for (host, routes) in before.hosts.iter().filter(|(host, _)| !own.contains(host)) {
            let left = after.hosts.get(host);
            prop_assert_eq!(
                Some(&routes.candidates),
                left.map(|left| &left.candidates),
                "candidates of {}", host
            );
            if !has_default(&objects[removed]) {
                prop_assert_eq!(Some(&routes.default), left.map(|left| &left.default));
            }
        }
    }

    #[test]
    fn a_namespace_cannot_take_what_an_older_claim_serves(
        objects in objects(),
        namespace in proptest::sample::select(vec!["a", "b", "c"]),
        request in requests(),
    ) {
        let of_namespace = |object: &Object| {
            is_route(object) && meta(object).namespace.as_deref() == Some(namespace)
        };
        let without: Vec<_> = objects.iter().filter(|it| !of_namespace(it)).cloned().collect();
        let before = find(&run(&without, &options()).config, &request);
        let after = find(&run(&objects, &options()).config, &request);
        let Some(route) = before.route.clone().filter(|_| before != after) else {
            return Ok(());
        };
        prop_assert_ne!(namespace_of(&before), Some(namespace));
        let more_specific = match (&before.host, &after.host) {
            (Some(before_host), Some(after_host)) if before_host == after_host => {
                match (&before.path, &after.path) {
                    (Some(before), Some(after)) => after.precedence() < before.precedence(),
                    (None, Some(_)) => true,
                    _ => false,
                }
            }
            (Some(before), Some(after)) => after < before,
            (None, Some(_)) => true,
            _ => false,
        };
        let id = &route.id.object;
        let same_namespace = |object: &&Object| {
            is_route(object) && meta(object).namespace.as_deref() == Some(&*id.namespace)
        };
        let served = objects
            .iter()
            .filter(same_namespace)
            .find(|object| meta(object).name.as_deref() == Some(&*id.name))
            .map(seniority);
        // A defaultBackend serves a host by the oldest claim of its namespace on that host.
        let claim = before.host.as_ref().filter(|_| before.path.is_none()).and_then(|host| {
            objects
                .iter()
                .filter(same_namespace)
                .filter(|object| hosts_of(object, &objects).contains(host))
                .map(seniority)
                .min()
        });
        let claimed = served.max(claim).expect("the object that serves");
        let older = objects
            .iter()
            .filter(|object| of_namespace(object))
            .any(|object| seniority(object) < claimed);
        prop_assert!(
            more_specific || older,
            "{:?} went from {:?} to {:?}", request, before, after
        );
    }
}
