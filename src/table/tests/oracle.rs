//! The table against a linear scan in the order of precedence.

use std::sync::Arc;

use proptest::prelude::*;
use regex::Regex;

use crate::ir::{self, HostPattern, PathMatch, Traffic};

use super::{Asked, conditional, host, rule, sorted};

/// What the contract says, written down as plainly as possible.
fn scan<'a>(config: &'a ir::Config, asked: &Asked) -> Option<&'a str> {
    let chosen = config
        .hosts
        .iter()
        .filter(|(pattern, _)| match pattern {
            HostPattern::Exact(name) => **name == asked.host,
            HostPattern::Wildcard(parent) => asked
                .host
                .strip_suffix(&**parent)
                .and_then(|rest| rest.strip_suffix('.'))
                .is_some_and(|label| !label.is_empty() && !label.contains('.')),
            HostPattern::Any => true,
        })
        .min_by_key(|(pattern, _)| (*pattern).clone());
    let fallback = config.fallback.as_ref().map(|route| &*route.id.rule);
    let Some((pattern, routes)) = chosen else {
        return fallback;
    };
    routes
        .candidates
        .iter()
        .find(|candidate| takes(candidate, asked))
        .map(|candidate| &*candidate.route.id.rule)
        .or_else(|| routes.default.as_ref().map(|route| &*route.id.rule))
        .or(if *pattern == HostPattern::Any {
            fallback
        } else {
            None
        })
}

fn takes(candidate: &ir::Candidate, asked: &Asked) -> bool {
    let path = match &candidate.path {
        PathMatch::Exact(value) => asked.path == **value,
        PathMatch::Regex(source) => {
            Regex::new(&format!(r"\A({source})\z")).is_ok_and(|whole| whole.is_match(&asked.path))
        }
        PathMatch::Prefix(value) if &**value == "/" => asked.path.starts_with('/'),
        PathMatch::Prefix(value) => {
            asked.path == **value || asked.path.starts_with(&format!("{value}/"))
        }
    };
    path && (candidate.traffic == Traffic::Any || asked.handshake)
        && candidate.headers.iter().all(|wanted| {
            asked
                .headers
                .contains(&(wanted.name.to_string(), wanted.value.to_string()))
        })
        && candidate.query.iter().all(|wanted| {
            asked
                .query
                .as_deref()
                .unwrap_or_default()
                .split('&')
                .any(|pair| pair == format!("{}={}", wanted.name, wanted.value))
        })
}

fn host_name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["", "a", "b.a", "c.a", "c.b.a", "a.a", "d.c.b.a", ".a"])
}

fn host_pattern() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["a", "b.a", "c.b.a", "*.a", "*.b.a", "*"])
}

/// Paths that often are prefixes of each other, by bytes or by elements.
fn plain_path(elements: std::ops::Range<usize>) -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", "ab", "a-b"]), elements)
        .prop_map(|parts| format!("/{}", parts.join("/")))
}

fn path_match() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => plain_path(0..5),
        2 => plain_path(0..5).prop_map(|path| format!("={path}")),
        1 => plain_path(1..3).prop_map(|path| format!("={path}/")),
        1 => prop::sample::select(vec!["~/a.*", "~/a|/b", "~(/[ab]+)+", "~/(a", "~/.*b"])
            .prop_map(ToOwned::to_owned),
    ]
}

fn asked_path() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => plain_path(0..6),
        2 => plain_path(1..5).prop_map(|path| format!("{path}/")),
        1 => plain_path(1..3).prop_map(|path| format!("{path}//b")),
        1 => Just("*".to_owned()),
        1 => ".{0,12}",
    ]
}

fn digit() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["1", "2"])
}

prop_compose! {
    fn candidate()(
        at in path_match(),
        header in prop::option::weighted(0.3, digit()),
        query in prop::option::weighted(0.3, digit()),
        handshakes in prop::bool::weighted(0.2),
    ) -> (String, Option<&'static str>, Option<&'static str>, bool) {
        (at, header, query, handshakes)
    }
}

prop_compose! {
    fn config()(
        hosts in prop::collection::btree_map(
            host_pattern(),
            (prop::collection::vec(candidate(), 0..12), prop::bool::weighted(0.3)),
            0..6,
        ),
        fallback in any::<bool>(),
    ) -> ir::Config {
        let mut number = 0;
        let mut name = || { number += 1; format!("{number:03}") };
        ir::Config {
            hosts: hosts.into_iter().map(|(pattern, (candidates, default))| {
                let candidates = candidates.into_iter().map(|(at, header, query, handshakes)| {
                    let headers: Vec<_> = header.map(|value| ("x", value)).into_iter().collect();
                    let query: Vec<_> = query.map(|value| ("v", value)).into_iter().collect();
                    let traffic = if handshakes { Traffic::Handshakes } else { Traffic::Any };
                    conditional(&name(), &at, &headers, &query, traffic)
                }).collect();
                let default = default.then(|| rule(&name(), vec![]));
                (host(pattern), ir::HostRoutes { candidates: sorted(candidates), default })
            }).collect(),
            fallback: fallback.then(|| rule("fallback", vec![])),
            backends: std::collections::BTreeMap::new(),
        }
    }
}

prop_compose! {
    fn asked()(
        host in host_name(),
        path in asked_path(),
        header in prop::option::of(digit()),
        query in prop::option::of(digit()),
        handshake in any::<bool>(),
    ) -> Asked {
        Asked {
            host: host.into(),
            path,
            query: query.map(|value| format!("v={value}")),
            headers: header.map(|value| ("x".into(), value.into())).into_iter().collect(),
            handshake,
        }
    }
}

/// From one configuration to the next.
fn delta(before: &ir::Config, after: &ir::Config) -> ir::Delta {
    let gone = before
        .hosts
        .keys()
        .filter(|host| !after.hosts.contains_key(host));
    let gone = gone.map(|host| (host.clone(), None));
    let changed = after
        .hosts
        .iter()
        .filter(|(host, routes)| before.hosts.get(host) != Some(routes));
    let changed = changed.map(|(host, routes)| (host.clone(), Some(Arc::new(routes.clone()))));
    ir::Delta {
        hosts: gone.chain(changed).collect(),
        fallback: (before.fallback != after.fallback).then(|| after.fallback.clone()),
        ..ir::Delta::default()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_table_agrees_with_a_linear_scan(
        configs in prop::collection::vec(config(), 1..4),
        requests in prop::collection::vec(asked(), 1..30),
    ) {
        let mut table = super::Table::empty();
        let mut before = ir::Config::default();
        for config in configs {
            let whole = table.next(&config, |id| id.service.to_string());
            let changed = table.change(&delta(&before, &config), |id| id.service.to_string());
            for next in [&whole, &changed] {
                prop_assert_eq!(next.generation(), table.generation() + 1);
                prop_assert!(next.serves(&config));
                for request in &requests {
                    prop_assert_eq!(request.taken_by(next), scan(&config, request), "{:?}", request);
                }
            }
            (table, before) = (changed, config);
        }
    }
}
