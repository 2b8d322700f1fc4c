//! All objects by kind, in an order that does not depend on the order they came in.

use super::{
    Options,
    backend::Service,
    class::{Classes, IngressClass},
    endpoints::Slice,
    prepare::{Item, Prepared, RouteObject},
};

/// All objects.
#[derive(Debug)]
pub(super) struct Inputs<'a> {
    /// Ours, the oldest first, then by `namespace/name` and kind.
    pub(super) routes: Vec<&'a RouteObject>,
    /// Those of other controllers.
    pub(super) foreign: Vec<&'a RouteObject>,
    pub(super) services: Vec<&'a Service>,
    pub(super) slices: Vec<&'a Slice>,
}

impl<'a> Inputs<'a> {
    pub(super) fn new(objects: impl IntoIterator<Item = &'a Prepared>, options: &Options) -> Self {
        let mut routes: Vec<&RouteObject> = Vec::new();
        let mut classes: Vec<&IngressClass> = Vec::new();
        let mut services: Vec<&Service> = Vec::new();
        let mut slices: Vec<&Slice> = Vec::new();
        for object in objects {
            match &object.0 {
                Item::Route(route) => routes.push(route),
                Item::Class(class) => classes.push(class),
                Item::Service(service) => services.push(service),
                Item::Slice(slice) => slices.push(slice),
            }
        }
        slices.sort_unstable_by(|a, b| (&a.namespace, a.name()).cmp(&(&b.namespace, b.name())));
        let classes = Classes::new(&classes, options);
        let (mut routes, foreign): (Vec<_>, Vec<_>) = routes
            .into_iter()
            .partition(|route| classes.is_ours(route.id.kind, &route.class));
        routes.sort_unstable_by(|a, b| (a.age, &a.id).cmp(&(b.age, &b.id)));
        Self {
            routes,
            foreign,
            services,
            slices,
        }
    }
}
