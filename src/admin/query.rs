//! What the query of a view asks for.

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
