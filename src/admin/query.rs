//! What the query of a view asks for.

use std::{fmt, net::SocketAddr, time::Duration};

use http::Uri;

/// A query that cannot be answered.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadQuery {
    /// A route without its namespace.
    #[error("route={0}: write route=namespace/name")]
    Route(String),
    /// Another value of `closed`.
    #[error("closed={0}: write closed=recent, or leave it out for the open ones")]
    Closed(String),
    /// The number of a tunnel.
    #[error("{0} is no number of a tunnel: write the id that /api/v1/connections shows")]
    Id(String),
    /// An address.
    #[error("endpoint={0}: write endpoint=ADDRESS:PORT as /api/v1/backends shows it")]
    Endpoint(String),
    /// A duration.
    #[error("window={0}: write a duration such as window=60s or window=5m")]
    Window(String),
    /// Nothing that says which tunnels.
    #[error("say which tunnels: route=namespace/name, endpoint=ADDRESS:PORT, or both")]
    Everything,
    /// A name that means nothing, or a second time.
    #[error("{0}: write each of route=, endpoint= and window= at most once, and nothing else")]
    Name(String),
}

/// The object of a route, of whatever kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RouteName {
    /// Namespace of the object.
    pub(super) namespace: String,
    /// Name of the object.
    pub(super) name: String,
}

impl RouteName {
    fn parse(text: &str) -> Result<Self, BadQuery> {
        match text.split_once('/') {
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => Ok(Self {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            }),
            _ => Err(BadQuery::Route(text.to_owned())),
        }
    }

    /// Whether `object` has this name.
    pub(super) fn is(&self, object: &crate::ir::ObjectId) -> bool {
        *object.namespace == *self.namespace && *object.name == *self.name
    }
}

impl fmt::Display for RouteName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// What `/api/v1/routes` is to show.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Filter {
    /// Only this host pattern, as written in the manifest; `*` is every host.
    pub(super) host: Option<String>,
    /// Only this object.
    pub(super) route: Option<RouteName>,
}

/// What `/api/v1/connections` is to show.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Connections {
    /// Only those of this object.
    pub(super) route: Option<RouteName>,
    /// The last ended ones instead of the open ones.
    pub(super) closed: bool,
}

/// Which tunnels `/api/v1/drain` is to end, and over how long.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Drain {
    /// Only those of this object.
    pub(super) route: Option<RouteName>,
    /// Only those of this endpoint.
    pub(super) endpoint: Option<SocketAddr>,
    /// `None` = the window of each route.
    pub(super) window: Option<Duration>,
}

/// The query of `/api/v1/routes`. Unknown names are ignored.
pub(super) fn routes(uri: &Uri) -> Result<Filter, BadQuery> {
    let mut filter = Filter::default();
    for (name, value) in pairs(uri) {
        match &*name {
            "host" => filter.host = Some(value.to_ascii_lowercase()),
            "route" => filter.route = Some(RouteName::parse(&value)?),
            _ => {}
        }
    }
    Ok(filter)
}

/// The query of `/api/v1/connections`. Unknown names are ignored.
pub(super) fn connections(uri: &Uri) -> Result<Connections, BadQuery> {
    let mut wanted = Connections::default();
    for (name, value) in pairs(uri) {
        match (&*name, &*value) {
            ("route", route) => wanted.route = Some(RouteName::parse(route)?),
            ("closed", "recent") => wanted.closed = true,
            ("closed", other) => return Err(BadQuery::Closed(other.to_owned())),
            _ => {}
        }
    }
    Ok(wanted)
}

/// The query of `/api/v1/drain`. Unlike in a view an unknown name is an error: `endpiont=` must not drain a whole route.
pub(super) fn drain(
    uri: &Uri,
    duration: impl Fn(&str) -> Option<Duration>,
) -> Result<Drain, BadQuery> {
    let mut wanted = Drain::default();
    for (name, value) in pairs(uri) {
        let again = match &*name {
            "route" => wanted.route.replace(RouteName::parse(&value)?).is_some(),
            "endpoint" => {
                let endpoint = value.parse();
                let endpoint = endpoint.map_err(|_| BadQuery::Endpoint(value.into_owned()))?;
                wanted.endpoint.replace(endpoint).is_some()
            }
            "window" => {
                let window = duration(&value);
                let window = window.ok_or_else(|| BadQuery::Window(value.into_owned()))?;
                wanted.window.replace(window).is_some()
            }
            _ => true,
        };
        if again {
            return Err(BadQuery::Name(name.into_owned()));
        }
    }
    if wanted.route.is_none() && wanted.endpoint.is_none() {
        return Err(BadQuery::Everything);
    }
    Ok(wanted)
}

fn pairs(uri: &Uri) -> form_urlencoded::Parse<'_> {
    form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> Uri {
        text.parse().expect("a target")
    }

    #[test]
    fn names_are_read_in_either_spelling() {
        for query in ["/?route=shop/chat&x=1", "/?route=shop%2Fchat"] {
            let route = routes(&uri(query)).expect(query).route.expect(query);
            assert_eq!((&*route.namespace, &*route.name), ("shop", "chat"));
        }
        let filter = routes(&uri("/?host=*.Example.com")).expect("a host");
        assert_eq!(filter.host.as_deref(), Some("*.example.com"));
        assert_eq!(connections(&uri("/")), Ok(Connections::default()));
        assert!(connections(&uri("/?closed=recent")).expect("closed").closed);
    }

    fn seconds(text: &str) -> Option<Duration> {
        Some(Duration::from_secs(text.strip_suffix('s')?.parse().ok()?))
    }

    #[test]
    fn a_drain_says_which_tunnels_and_over_how_long() {
        let all = uri("/?route=shop/chat&endpoint=%5B::1%5D:80&window=5s");
        let all = drain(&all, seconds).expect("a drain");
        let route = all.route.expect("a route");
        assert_eq!((&*route.namespace, &*route.name), ("shop", "chat"));
        assert_eq!(all.endpoint, Some("[::1]:80".parse().expect("an address")));
        assert_eq!(all.window, Some(Duration::from_secs(5)));
        let some = drain(&uri("/?endpoint=10.0.0.1:80"), seconds).expect("a drain");
        assert_eq!((some.route, some.window), (None, None));
    }

    #[test]
    fn a_drain_that_is_not_clear_says_what_to_write() {
        for (query, words) in [
            ("/", "route=namespace/name"),
            ("/?window=5s", "route=namespace/name"),
            ("/?route=chat", "namespace/name"),
            ("/?endpoint=chat:80", "ADDRESS:PORT"),
            ("/?endpoint=10.0.0.1", "ADDRESS:PORT"),
            ("/?route=a/b&window=soon", "window=60s"),
            ("/?route=a/b&window=", "window=60s"),
            ("/?route=a/b&endpiont=10.0.0.1:80", "endpiont"),
            ("/?route=a/b&route=a/c", "at most once"),
        ] {
            let error = drain(&uri(query), seconds).expect_err(query).to_string();
            assert!(error.contains(words), "{query}: {error}");
        }
    }

    #[test]
    fn a_bad_value_says_what_to_write() {
        for query in ["/?route=chat", "/?route=/chat", "/?route=shop/"] {
            let error = connections(&uri(query)).expect_err(query).to_string();
            assert!(error.contains("namespace/name"), "{error}");
        }
        let error = connections(&uri("/?closed=all")).expect_err("all");
        assert!(error.to_string().contains("closed=recent"));
    }
}
