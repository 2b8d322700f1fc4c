//! A `WebSocketRoute` on its own. Most of what is refused here the schema has refused before; a route must not
//! do harm where it has not.

use std::sync::Arc;

use hashbrown::HashSet;

use super::{
    class::ClassRef,
    fault::{Fault, Listed, Quoted},
    fields, headers, host, path, policy,
    prepare::{self, Match, Place, Port, Ref, RefTarget, RouteObject, Rule},
};
use crate::{
    api,
    ir::{HeaderMatch, HostPattern, PathMatch, Policy, QueryMatch, RouteId, RouteKind, defaults},
};

/// Judges a route.
pub(super) fn prepare(route: &api::WebSocketRoute) -> RouteObject {
    let id = prepare::object_id(RouteKind::WebSocketRoute, &route.metadata);
    let mut faults = Listed::default();
    let hosts = hosts(&route.spec.hostnames, &mut faults);
    let mut rules = Vec::new();
    let mut names = HashSet::new();
    if route.spec.rules.is_empty() {
        faults.push(Fault::invalid(
            "spec.rules",
            "there is no rule; write at least one",
        ));
    }
    for (index, rule) in route.spec.rules.iter().enumerate() {
        let field = format!("spec.rules[{index}]");
        let name: Arc<str> = rule.name.as_str().into();
        let read = if names.insert(&rule.name) {
            read_rule(&field, rule)
        } else {
            Err(Fault::invalid(
                format!("{field}.name"),
                "another rule has this name",
            ))
        };
        match read {
            Ok((matches, policy, refs)) if !hosts.is_empty() => rules.push(Rule::new(
                RouteId {
                    object: id.clone(),
                    rule: name,
                },
                Place::Rule(index),
                Arc::clone(&hosts),
                matches,
                policy::share(policy),
                refs,
            )),
            Ok(_) => {}
            Err(fault) => faults.push(fault.of_rule(&name)),
        }
    }
    rules.shrink_to_fit();
    RouteObject {
        id,
        version: prepare::version(&route.metadata),
        age: prepare::age(&route.metadata),
        class: match &route.spec.ingress_class_name {
            Some(name) => ClassRef::Named(name.as_str().into()),
            None => ClassRef::Unset,
        },
        rules,
        bare_hosts: Vec::new(),
        default: None,
        faults,
        warnings: Listed::default(),
    }
}

/// A bad host costs that host. If none is left, the route has none: it must not take every host instead.
fn hosts(raw: &[String], faults: &mut Listed<Fault>) -> Arc<[HostPattern]> {
    if raw.is_empty() {
        return [HostPattern::Any].into();
    }
    let mut hosts = Vec::with_capacity(raw.len());
    for (index, raw) in raw.iter().enumerate() {
        match host::pattern(raw) {
            Ok(host) => hosts.push(host),
            Err(problem) => faults.push(Fault::invalid(
                format!("spec.hostnames[{index}]"),
                format_args!("{}: {problem}", Quoted(raw)),
            )),
        }
    }
    hosts.sort_unstable();
    hosts.dedup();
    hosts.into()
}

fn read_rule(field: &str, rule: &api::RouteRule) -> Result<(Vec<Match>, Policy, Vec<Ref>), Fault> {
    let matches = matches(field, &rule.matches)?;
    let policy = fields::policy(field, rule)?;
    let regex = matches
        .iter()
        .any(|matched| matches!(matched.path, PathMatch::Regex(_)));
    if regex && policy.rewrite.prefix.is_some() {
        return Err(Fault::invalid(
            format!("{field}.rewrite.prefix"),
            "it replaces what a Prefix or Exact path matched, which a Regex path does not tell",
        ));
    }
    Ok((matches, policy, refs(field, &rule.backend_refs)?))
}

fn matches(field: &str, matches: &[api::RouteMatch]) -> Result<Vec<Match>, Fault> {
    if matches.is_empty() {
        return Ok(vec![Match {
            path: PathMatch::Prefix("/".into()),
            headers: Vec::new(),
            query: Vec::new(),
            item: 0,
        }]);
    }
    matches
        .iter()
        .enumerate()
        .map(|(item, matched)| {
            let field = format!("{field}.matches[{item}]");
            Ok(Match {
                path: read_path(&field, matched.path.as_ref())?,
                headers: header_matches(&field, &matched.headers)?,
                query: query_matches(&field, &matched.query_params)?,
                item,
            })
        })
        .collect()
}

fn read_path(field: &str, path: Option<&api::PathMatch>) -> Result<PathMatch, Fault> {
    let Some(path) = path else {
        return Ok(PathMatch::Prefix("/".into()));
    };
    match path.type_ {
        api::PathMatchType::Exact => path::exact(&path.value),
        api::PathMatchType::Prefix => path::prefix(&path.value),
        api::PathMatchType::Regex => path::regex(&path.value),
    }
    .map_err(|problem| {
        Fault::invalid(
            format!("{field}.path.value"),
            format_args!("{}: {problem}", Quoted(&path.value)),
        )
    })
}

fn header_matches(field: &str, matches: &[api::HeaderMatch]) -> Result<Vec<HeaderMatch>, Fault> {
    let mut headers = matches
        .iter()
        .enumerate()
        .map(|(index, matched)| {
            let field = format!("{field}.headers[{index}]");
            let name = headers::name(&format!("{field}.name"), &matched.name)?;
            if !headers::is_field_value(&matched.value) {
                return Err(Fault::invalid(
                    format!("{field}.value"),
                    "a header value has no line break and no control character",
                ));
            }
            Ok(HeaderMatch {
                name: name.into(),
                value: matched.value.as_str().into(),
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    // The order means nothing and a repetition must not count as more matches.
    headers.sort_unstable();
    headers.dedup();
    Ok(headers)
}

fn query_matches(field: &str, matches: &[api::QueryParamMatch]) -> Result<Vec<QueryMatch>, Fault> {
    let mut query = matches
        .iter()
        .enumerate()
        .map(|(index, matched)| {
            if matched.name.is_empty() {
                return Err(Fault::invalid(
                    format!("{field}.queryParams[{index}].name"),
                    "it is empty",
                ));
            }
            Ok(QueryMatch {
                name: matched.name.as_str().into(),
                value: matched.value.as_str().into(),
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    query.sort_unstable();
    query.dedup();
    Ok(query)
}

fn refs(field: &str, refs: &[api::BackendRef]) -> Result<Vec<Ref>, Fault> {
    if refs.is_empty() {
        return Err(Fault::invalid(
            format!("{field}.backendRefs"),
            "there is no backend; name a Service",
        ));
    }
    refs.iter()
        .enumerate()
        .map(|(index, reference)| {
            let field = format!("{field}.backendRefs[{index}]");
            if reference.name.is_empty() {
                return Err(Fault::invalid(
                    format!("{field}.name"),
                    "it is empty; name a Service of the same namespace",
                ));
            }
            let port = match &reference.port {
                api::BackendPort::Number(number) if *number > 0 => Port::Number(*number),
                api::BackendPort::Name(name) if !name.is_empty() => {
                    Port::Name(name.as_str().into())
                }
                _ => {
                    return Err(Fault::invalid(
                        format!("{field}.port"),
                        "write the name or number of a port of the Service",
                    ));
                }
            };
            let weight = match reference.weight {
                None => defaults::WEIGHT,
                Some(weight) => u32::try_from(weight).map_err(|_| {
                    Fault::invalid(
                        format!("{field}.weight"),
                        "it is negative; 0 means no traffic",
                    )
                })?,
            };
            Ok(Ref {
                target: RefTarget::Service {
                    name: reference.name.as_str().into(),
                    port,
                },
                weight,
            })
        })
        .collect()
}
