//! From a request to its route: one look at the live table.

use std::sync::Arc;

use http::{HeaderMap, header::UPGRADE, request, uri::PathAndQuery};

use crate::{ir, table, tunnel, upstream};

use super::{
    error::{Error, Refused, Unserved},
    rewrite,
    target::Target,
};

/// A route of the live table.
pub(super) type Route = table::Route<Arc<upstream::Backend>>;
/// The live table.
pub(super) type Live = table::Handle<Arc<upstream::Backend>>;

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    /// A response.
    Plain,
    /// A WebSocket, by Upgrade.
    Upgrade,
    /// A tunnel, by extended CONNECT. Without the tunnel there is nothing to answer.
    Connect,
}

/// What was decided about a request.
pub(super) struct Choice {
    /// The route.
    pub(super) route: Arc<Route>,
    /// Path and query towards the backend.
    pub(super) target: PathAndQuery,
    /// Whether the route takes it as an attempt at a handshake.
    pub(super) attempt: bool,
    /// How the table found the route of an attempt.
    pub(super) found: tunnel::Found,
}

impl Choice {
    /// How the route treats its requests.
    pub(super) fn policy(&self) -> &ir::Policy {
        &self.route.rule.policy
    }

    /// The backend whose turn it is.
    pub(super) fn backend(&self) -> Result<&Arc<upstream::Backend>, Unserved> {
        match self.route.pick() {
            Some(table::Destination::Backend(backend)) => Ok(backend),
            Some(table::Destination::Missing(what)) => Err(Unserved::Missing(what.to_owned())),
            None => Err(Unserved::NoWeight),
        }
    }
}

/// Finds the route. Where it says `Ignore`, an attempt by Upgrade loses its `Upgrade` and is routed
/// once more as the plain request that it now is: where a `WebSocketRoute` and an Ingress share a path,
/// that is how the Ingress gets it.
pub(super) fn choose(
    live: &Live,
    target: &Target,
    head: &mut request::Parts,
    ask: Ask,
) -> Result<Choice, Error> {
    let table = live.load();
    let mut look = Look {
        target,
        headers: &mut head.headers,
        attempt: ask != Ask::Plain,
    };
    let mut hit = table.find(&look).ok_or(Refused::NotFound)?;
    if ask == Ask::Upgrade && hit.route.rule.policy.upgrade.mode.value == ir::UpgradeMode::Ignore {
        look.headers.remove(UPGRADE);
        look.attempt = false;
        hit = table.find(&look).ok_or(Refused::NotFound)?;
    }
    let prefix = hit.route.rule.policy.rewrite.prefix.as_deref();
    // Nearly always it goes on as it came. An absolute-form may have a query and no path.
    let as_it_is = |asked: &&PathAndQuery| {
        prefix.is_none() && asked.path() == target.path && asked.as_str().starts_with('/')
    };
    let asked = head.uri.path_and_query().filter(as_it_is);
    Ok(Choice {
        target: asked
            .cloned()
            .or_else(|| rewrite::target(&target.path, target.query.as_deref(), hit.path, prefix))
            .ok_or(Unserved::Internal(
                "the target towards the backend is invalid",
            ))?,
        route: hit.route.clone(),
        found: if look.attempt {
            tunnel::Found::new(&table, &hit)
        } else {
            tunnel::Found::default()
        },
        attempt: look.attempt,
    })
}

/// A request as the table sees it.
struct Look<'a> {
    target: &'a Target,
    headers: &'a mut HeaderMap,
    attempt: bool,
}

impl table::Request for Look<'_> {
    fn host(&self) -> &str {
        &self.target.host
    }

    fn path(&self) -> &str {
        &self.target.path
    }

    fn query(&self) -> Option<&str> {
        self.target.query.as_deref()
    }

    fn has_header(&self, name: &str, value: &str) -> bool {
        let mut lines = self.headers.get_all(name).iter();
        match (lines.next(), lines.next()) {
            (None, _) => false,
            (Some(only), None) => only.as_bytes() == value.as_bytes(),
            (Some(_), Some(_)) => {
                let lines: Vec<&[u8]> = self
                    .headers
                    .get_all(name)
                    .iter()
                    .map(http::HeaderValue::as_bytes)
                    .collect();
                lines.contains(&value.as_bytes()) || lines.join(&b", "[..]) == value.as_bytes()
            }
        }
    }

    fn is_handshake_attempt(&self) -> bool {
        self.attempt
    }
}
