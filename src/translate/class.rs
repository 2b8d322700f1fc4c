//! Whose an object is.

use std::{cmp::Reverse, sync::Arc};

use hashbrown::HashMap;
use k8s_openapi::api::networking::v1;

use super::{Options, SourceKind, prepare};
use crate::{
    api::annotations::DEFAULT_INGRESS_CLASS,
    ir::{Age, RouteKind},
};

/// An IngressClass.
#[derive(Debug)]
pub(super) struct IngressClass {
    pub(super) name: Arc<str>,
    controller: Box<str>,
    default: bool,
    age: Age,
}

impl IngressClass {
    pub(super) fn new(class: &v1::IngressClass) -> Self {
        let controller = class
            .spec
            .as_ref()
            .and_then(|spec| spec.controller.as_deref());
        let default = class
            .metadata
            .annotations
            .as_ref()
            .and_then(|annotations| annotations.get(DEFAULT_INGRESS_CLASS));
        Self {
            name: prepare::name(&class.metadata),
            controller: controller.unwrap_or_default().into(),
            default: default.is_some_and(|value| value == "true"),
            age: prepare::age(&class.metadata),
        }
    }
}

/// What an object says about its class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ClassRef {
    /// `spec.ingressClassName`.
    Named(Box<str>),
    /// The annotation from before there were IngressClass objects.
    Legacy(Box<str>),
    /// Nothing.
    Unset,
}

/// The classes, as far as they decide whose an object is.
#[derive(Debug, Default, Clone)]
pub(super) struct Classes {
    /// Whether a class is ours. Empty: there are none, names decide.
    ours: HashMap<Arc<str>, bool>,
    /// Whether the default class is ours; `None` without a default class.
    default: Option<bool>,
}

impl Classes {
    pub(super) fn new<'a>(
        classes: impl Iterator<Item = &'a IngressClass> + Clone,
        options: &Options,
    ) -> Self {
        let is_ours = |class: &IngressClass| *class.controller == *options.controller_name;
        // As admission does it: the newest, then the first name.
        let default = classes
            .clone()
            .filter(|class| class.default)
            .min_by_key(|class| (Reverse(class.age), &class.name));
        Self {
            ours: classes
                .map(|class| (Arc::clone(&class.name), is_ours(class)))
                .collect(),
            default: default.map(is_ours),
        }
    }

    /// Whether an object is ours.
    pub(super) fn is_ours(&self, options: &Options, kind: RouteKind, class: &ClassRef) -> bool {
        match class {
            ClassRef::Named(name) if self.ours.is_empty() => **name == *options.ingress_class,
            ClassRef::Named(name) => self.ours.get(&**name).copied().unwrap_or(false),
            ClassRef::Legacy(name) => **name == *options.ingress_class,
            ClassRef::Unset => self.takes_classless(options, kind),
        }
    }

    fn takes_classless(&self, options: &Options, kind: RouteKind) -> bool {
        let watched = options.watch_ingress_without_class && kind == RouteKind::Ingress;
        match (options.origin, kind) {
            // Admission gave it the default class if it was to have it.
            (SourceKind::Cluster, RouteKind::Ingress) if !watched => false,
            // In a directory without any class nobody else can be meant.
            (origin, _) => self
                .default
                .unwrap_or(watched || (origin == SourceKind::Directory && self.ours.is_empty())),
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const OURS: &str = "hawser.dev/ingress-controller";
    const OTHER: &str = "k8s.io/ingress-nginx";

    fn options(origin: SourceKind, watch: bool) -> Options {
        Options {
            controller_name: OURS.into(),
            ingress_class: "hawser".into(),
            watch_ingress_without_class: watch,
            origin,
            own_addresses: Vec::new(),
            peer_service: None,
            drain_window: None,
        }
    }

    fn class(name: &str, controller: &str, default: bool, age: Age) -> IngressClass {
        IngressClass {
            name: name.into(),
            controller: controller.into(),
            default,
            age,
        }
    }

    fn ours(
        classes: &[IngressClass],
        options: &Options,
        kind: RouteKind,
        class: &ClassRef,
    ) -> bool {
        Classes::new(classes.iter(), options).is_ours(options, kind, class)
    }

    #[rstest]
    #[case("fast", true)]
    #[case("hawser", false)]
    #[case("nginx", false)]
    #[case("gone", false)]
    fn the_controller_of_the_class_decides_not_its_name(#[case] name: &str, #[case] expect: bool) {
        let classes = [
            class("fast", OURS, false, Age::Unknown),
            class("hawser", OTHER, false, Age::Unknown),
            class("nginx", OTHER, false, Age::Unknown),
        ];
        let options = options(SourceKind::Directory, false);
        let named = ClassRef::Named(name.into());
        assert_eq!(ours(&classes, &options, RouteKind::Ingress, &named), expect);
    }

    #[rstest]
    #[case("hawser", true)]
    #[case("nginx", false)]
    fn without_classes_the_name_decides(#[case] name: &str, #[case] expect: bool) {
        let options = options(SourceKind::Cluster, false);
        let named = ClassRef::Named(name.into());
        assert_eq!(ours(&[], &options, RouteKind::Ingress, &named), expect);
    }

    #[test]
    fn the_annotation_is_compared_with_the_flag() {
        let classes = [class("fast", OURS, false, Age::Unknown)];
        let options = options(SourceKind::Cluster, false);
        let is_ours = |name: &str| {
            let legacy = ClassRef::Legacy(name.into());
            ours(&classes, &options, RouteKind::Ingress, &legacy)
        };
        assert!(is_ours("hawser"));
        assert!(!is_ours("fast"));
    }

    #[rstest]
    // No class object at all.
    #[case(None, SourceKind::Directory, RouteKind::Ingress, false, true)]
    #[case(None, SourceKind::Directory, RouteKind::WebSocketRoute, false, true)]
    #[case(None, SourceKind::Cluster, RouteKind::WebSocketRoute, false, false)]
    #[case(None, SourceKind::Cluster, RouteKind::Ingress, true, true)]
    // Our class, not default.
    #[case(Some((OURS, false)), SourceKind::Directory, RouteKind::Ingress, false, false)]
    #[case(Some((OURS, false)), SourceKind::Cluster, RouteKind::Ingress, true, true)]
    #[case(Some((OURS, false)), SourceKind::Cluster, RouteKind::WebSocketRoute, true, false)]
    // Our class, default.
    #[case(Some((OURS, true)), SourceKind::Directory, RouteKind::Ingress, false, true)]
    #[case(Some((OURS, true)), SourceKind::Cluster, RouteKind::Ingress, false, false)]
    #[case(Some((OURS, true)), SourceKind::Cluster, RouteKind::Ingress, true, true)]
    #[case(Some((OURS, true)), SourceKind::Cluster, RouteKind::WebSocketRoute, false, true)]
    // Another controller's default class.
    #[case(Some((OTHER, true)), SourceKind::Directory, RouteKind::Ingress, false, false)]
    #[case(Some((OTHER, true)), SourceKind::Cluster, RouteKind::WebSocketRoute, false, false)]
    #[case(Some((OTHER, true)), SourceKind::Cluster, RouteKind::Ingress, true, false)]
    fn without_a_class(
        #[case] default: Option<(&str, bool)>,
        #[case] origin: SourceKind,
        #[case] kind: RouteKind,
        #[case] watch: bool,
        #[case] expect: bool,
    ) {
        let classes: Vec<_> = default
            .map(|(controller, default)| class("c", controller, default, Age::Unknown))
            .into_iter()
            .collect();
        let options = options(origin, watch);
        assert_eq!(ours(&classes, &options, kind, &ClassRef::Unset), expect);
    }

    #[rstest]
    #[case(Age::Created(1), Age::Created(2), false)]
    #[case(Age::Created(2), Age::Created(1), true)]
    #[case(Age::Unknown, Age::Created(2), true)]
    #[case(Age::Unknown, Age::Unknown, true)]
    fn of_several_defaults_the_newest_counts(
        #[case] ours_age: Age,
        #[case] other_age: Age,
        #[case] expect: bool,
    ) {
        let classes = [
            class("b", OTHER, true, other_age),
            class("a", OURS, true, ours_age),
        ];
        let options = options(SourceKind::Directory, false);
        let kind = RouteKind::WebSocketRoute;
        assert_eq!(ours(&classes, &options, kind, &ClassRef::Unset), expect);
    }
}
