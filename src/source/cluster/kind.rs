//! The kinds that are watched.

use kube::core::ApiResource;

/// A kind that is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Kind {
    WebSocketRoute,
    Ingress,
    IngressClass,
    Service,
    EndpointSlice,
}

impl Kind {
    /// All of them.
    pub(super) const ALL: [Self; 5] = [
        Self::WebSocketRoute,
        Self::Ingress,
        Self::IngressClass,
        Self::Service,
        Self::EndpointSlice,
    ];

    /// `kind` of its objects.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::WebSocketRoute => "WebSocketRoute",
            Self::Ingress => "Ingress",
            Self::IngressClass => "IngressClass",
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
        }
    }

    /// Whether its objects are in namespaces.
    pub(super) fn is_namespaced(self) -> bool {
        self != Self::IngressClass
    }

    /// Whether Hawser reports about its objects.
    pub(super) fn is_route(self) -> bool {
        matches!(self, Self::WebSocketRoute | Self::Ingress)
    }

    /// Name of the resource in paths and rules of RBAC.
    pub(super) fn plural(self) -> &'static str {
        match self {
            Self::WebSocketRoute => "websocketroutes",
            Self::Ingress => "ingresses",
            Self::IngressClass => "ingressclasses",
            Self::Service => "services",
            Self::EndpointSlice => "endpointslices",
        }
    }

    /// The resource as RBAC names it, `ingresses.networking.k8s.io`.
    pub(super) fn resource(self) -> String {
        match self.group_version().0 {
            "" => self.plural().to_owned(),
            group => format!("{}.{group}", self.plural()),
        }
    }

    /// `apiVersion` of its objects.
    pub(super) fn api_version(self) -> String {
        match self.group_version() {
            ("", version) => version.to_owned(),
            (group, version) => format!("{group}/{version}"),
        }
    }

    /// Where the API server has it.
    pub(super) fn api_resource(self) -> ApiResource {
        let (group, version) = self.group_version();
        ApiResource {
            group: group.to_owned(),
            version: version.to_owned(),
            api_version: self.api_version(),
            kind: self.as_str().to_owned(),
            plural: self.plural().to_owned(),
        }
    }

    fn group_version(self) -> (&'static str, &'static str) {
        match self {
            Self::WebSocketRoute => ("hawser.dev", "v1alpha1"),
            Self::Ingress | Self::IngressClass => ("networking.k8s.io", "v1"),
            Self::Service => ("", "v1"),
            Self::EndpointSlice => ("discovery.k8s.io", "v1"),
        }
    }
}
