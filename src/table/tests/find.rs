//! The order of precedence, case by case.

use std::sync::Arc;

use rstest::rstest;

use crate::ir::{self, Traffic};

use super::{Asked, candidate, compile, conditional, config, host, path, rule};

#[rstest]
#[case("a.example.com", Some("exact"))]
#[case("b.example.com", Some("wildcard"))]
#[case("example.com", Some("any"))]
#[case("x.b.example.com", Some("any"))]
#[case(".example.com", Some("any"))]
#[case("", Some("any"))]
#[case("A.example.com", Some("wildcard"))]
#[case("192.0.2.1", Some("any"))]
fn the_most_specific_host_is_chosen(#[case] name: &str, #[case] expected: Option<&str>) {
    let table = compile(&config(vec![
        ("a.example.com", vec![candidate("exact", "/")]),
        ("*.example.com", vec![candidate("wildcard", "/")]),
        ("*", vec![candidate("any", "/")]),
    ]));
    assert_eq!(Asked::new(name, "/").taken_by(&table), expected);
}

#[test]
fn there_is_no_way_back_to_a_less_specific_host() {
    let table = compile(&config(vec![
        ("a.example.com", vec![candidate("exact", "/a")]),
        ("*.example.com", vec![candidate("wildcard", "/b")]),
        ("*", vec![candidate("any", "/")]),
    ]));
    assert_eq!(Asked::new("a.example.com", "/b").taken_by(&table), None);
    assert_eq!(Asked::new("b.example.com", "/c").taken_by(&table), None);
    assert_eq!(Asked::new("c.org", "/c").taken_by(&table), Some("any"));
}

#[test]
fn a_host_that_is_named_without_a_path_is_not_given_away() {
    let wildcard = ("*.example.com", vec![candidate("wildcard", "/")]);
    let named = config(vec![("a.example.com", vec![]), wildcard.clone()]);
    let table = compile(&named);
    assert_eq!(Asked::new("a.example.com", "/").taken_by(&table), None);
    assert!(table.serves(&named));
    let empty: Vec<_> = table.empty_hosts().map(ToString::to_string).collect();
    assert_eq!(empty, ["a.example.com"]);
    assert!(!table.serves(&config(vec![wildcard])));
}

#[rstest]
#[case("/", Some("root"))]
#[case("/x", Some("root"))]
#[case("/a", Some("a"))]
#[case("/a/", Some("a"))]
#[case("/ab", Some("root"))]
#[case("/a/b", Some("ab"))]
#[case("/a/bc", Some("a"))]
#[case("/a/b/", Some("ab"))]
#[case("/a/b/x/y/z", Some("ab"))]
#[case("/a/b/c/d", Some("abcd"))]
#[case("/a/b/c/d/", Some("abcd"))]
#[case("/a/b/c/de", Some("ab"))]
#[case("/a//b", Some("a"))]
#[case("//a", Some("root"))]
#[case("*", None)]
#[case("", None)]
#[case("a/b", None)]
fn prefixes_are_element_wise_and_the_longest_wins(
    #[case] asked: &str,
    #[case] expected: Option<&str>,
) {
    let table = compile(&config(vec![(
        "h",
        vec![
            candidate("root", "/"),
            candidate("a", "/a"),
            candidate("ab", "/a/b"),
            candidate("abcd", "/a/b/c/d"),
        ],
    )]));
    assert_eq!(Asked::new("h", asked).taken_by(&table), expected);
}

#[test]
fn exact_then_regex_longest_first_then_prefix() {
    let table = compile(&config(vec![(
        "h",
        vec![
            candidate("exact", "=/a/b"),
            candidate("short", "~/a/.*"),
            candidate("long", "~/a/[bcd]"),
            candidate("prefix", "/a/b/c"),
            candidate("slash", "=/a/b/"),
        ],
    )]));
    for (asked, expected) in [
        ("/a/b", Some("exact")),
        ("/a/b/", Some("slash")),
        ("/a/c", Some("long")),
        ("/a/b/c", Some("short")),
        ("/a", None),
    ] {
        assert_eq!(Asked::new("h", asked).taken_by(&table), expected, "{asked}");
    }
}

#[test]
fn a_regex_that_does_not_compile_costs_nothing_else() {
    let table = compile(&config(vec![(
        "h",
        vec![candidate("bad", "~/(a"), candidate("good", "/(a")],
    )]));
    assert_eq!(Asked::new("h", "/(a").taken_by(&table), Some("good"));
}

#[test]
fn a_candidate_whose_conditions_fail_is_skipped() {
    let table = compile(&config(vec![(
        "h",
        vec![
            conditional("both", "/a", &[("x", "1"), ("y", "1")], &[], Traffic::Any),
            conditional("header", "/a", &[("x", "1")], &[], Traffic::Any),
            conditional("query", "/a", &[], &[("v", "2")], Traffic::Any),
            conditional("exact", "=/a", &[("z", "1")], &[], Traffic::Any),
            conditional("regex", "~/a|/b", &[], &[("r", "1")], Traffic::Any),
            candidate("root", "/"),
        ],
    )]));
    let asked = |path| Asked::new("h", path);
    assert_eq!(asked("/a").taken_by(&table), Some("root"));
    assert_eq!(asked("/a?v=2").taken_by(&table), Some("query"));
    assert_eq!(
        asked("/a?v=2").header("x", "1").taken_by(&table),
        Some("header")
    );
    assert_eq!(
        asked("/a")
            .header("x", "1")
            .header("y", "1")
            .taken_by(&table),
        Some("both")
    );
    assert_eq!(
        asked("/a?r=1").header("z", "1").taken_by(&table),
        Some("exact")
    );
    assert_eq!(
        asked("/a?r=1").header("x", "1").taken_by(&table),
        Some("regex")
    );
}

#[test]
fn handshakes_only_means_attempts_only() {
    let table = compile(&config(vec![(
        "h",
        vec![
            conditional("socket", "/a", &[], &[], Traffic::Handshakes),
            candidate("page", "/a"),
            conditional("lonely", "/b", &[], &[], Traffic::Handshakes),
        ],
    )]));
    assert_eq!(Asked::new("h", "/a").taken_by(&table), Some("page"));
    assert_eq!(
        Asked::new("h", "/a").handshake().taken_by(&table),
        Some("socket")
    );
    assert_eq!(Asked::new("h", "/b").taken_by(&table), None);
}

#[test]
fn default_backends_take_what_is_left() {
    let mut config = config(vec![
        ("a", vec![candidate("a", "/a")]),
        ("b", vec![candidate("b", "/b")]),
        ("*", vec![candidate("any", "/any")]),
    ]);
    config.hosts.get_mut(&host("a")).expect("host a").default = Some(rule("default of a", vec![]));
    config.fallback = Some(rule("fallback", vec![]));
    let table = compile(&config);
    for (name, at, expected) in [
        ("a", "/a", Some("a")),
        ("a", "/b", Some("default of a")),
        ("b", "/a", None),
        ("c", "/any", Some("any")),
        ("c", "/other", Some("fallback")),
    ] {
        assert_eq!(
            Asked::new(name, at).taken_by(&table),
            expected,
            "{name}{at}"
        );
    }
    let hit = table.find(&Asked::new("a", "/b"));
    let hit = hit.expect("taken by the default of a");
    assert_eq!(hit.path, None);
    assert_eq!(hit.host, Some(&host("a")));
    let hit = table.find(&Asked::new("c", "/other"));
    assert_eq!(hit.expect("taken by the fallback").host, None);
}

#[test]
fn a_hit_tells_what_matched() {
    let table = compile(&config(vec![("*.b.c", vec![candidate("p", "/a")])]));
    let asked = Asked::new("a.b.c", "/a/b");
    let hit = table.find(&asked).expect("taken");
    assert_eq!(hit.path, Some(&path("/a")));
    assert_eq!(hit.host, Some(&host("*.b.c")));
}

#[test]
fn matches_of_one_rule_share_one_route() {
    let shared = rule("shared", vec![]);
    let with = |at| ir::Candidate {
        route: Arc::clone(&shared),
        ..candidate("shared", at)
    };
    let table = compile(&config(vec![
        ("a", vec![with("/a"), with("/b")]),
        ("b", vec![with("/a")]),
    ]));
    let routes: Vec<_> = table.routes().map(|entry| entry.route).collect();
    assert_eq!(routes.len(), 3);
    assert!(routes.iter().all(|route| Arc::ptr_eq(route, routes[0])));
}

#[test]
fn routes_are_listed_in_total_order() {
    let mut config = config(vec![
        ("*", vec![candidate("any", "/")]),
        (
            "b",
            vec![
                candidate("p", "/p"),
                candidate("longer", "/p/q"),
                conditional(
                    "x",
                    "=/x",
                    &[("h", "1")],
                    &[("q", "1")],
                    Traffic::Handshakes,
                ),
            ],
        ),
        ("*.a", vec![candidate("wild", "/")]),
        ("a", vec![candidate("a", "~/a")]),
    ]);
    config.hosts.get_mut(&host("b")).expect("host b").default = Some(rule("db", vec![]));
    config.fallback = Some(rule("fallback", vec![]));
    let table = compile(&config);
    let listed: Vec<String> = table
        .routes()
        .map(|entry| {
            format!(
                "{} {} {:?} {}{} {}",
                entry.host.map_or("-".into(), ToString::to_string),
                entry.path.map_or("-".into(), ToString::to_string),
                entry.traffic,
                entry.headers.len(),
                entry.query.len(),
                entry.route.rule.id.rule
            )
        })
        .collect();
    assert_eq!(
        listed,
        [
            "a Regex /a Any 00 a",
            "b Exact /x Handshakes 11 x",
            "b Prefix /p/q Any 00 longer",
            "b Prefix /p Any 00 p",
            "b - Any 00 db",
            "*.a Prefix / Any 00 wild",
            "* Prefix / Any 00 any",
            "- - Any 00 fallback",
        ]
    );
}

#[test]
fn more_elements_than_the_depth_mask_has_bits() {
    let deep = "/x".repeat(80);
    let deeper = "/x".repeat(90);
    let table = compile(&config(vec![(
        "h",
        vec![candidate("deep", &deep), candidate("deeper", &deeper)],
    )]));
    let asked = |n| Asked::new("h", &"/x".repeat(n));
    assert_eq!(asked(79).taken_by(&table), None);
    assert_eq!(asked(80).taken_by(&table), Some("deep"));
    assert_eq!(asked(89).taken_by(&table), Some("deep"));
    assert_eq!(asked(90).taken_by(&table), Some("deeper"));
    assert_eq!(asked(4000).taken_by(&table), Some("deeper"));
}

#[test]
fn the_empty_table_takes_nothing() {
    let table = super::Table::<String>::empty();
    assert_eq!(table.generation(), 0);
    assert_eq!(Asked::new("h", "/").taken_by(&table), None);
    assert_eq!(table.routes().count(), 0);
}

#[test]
fn the_next_table_shares_compiled_patterns() {
    let config = config(vec![
        ("h", vec![candidate("r", "~/a+")]),
        ("i", vec![candidate("s", "~/a+"), candidate("t", "~/b+")]),
    ]);
    let first = compile(&config);
    let next = first.next(&config, |id| id.service.to_string());
    assert_eq!(next.generation(), first.generation() + 1);
    assert_eq!(Asked::new("i", "/aaa").taken_by(&next), Some("s"));
    let pattern = |table: &super::Table<String>| {
        let source = "/a+".into();
        table.shared.pools().pattern(&source)
    };
    let known = pattern(&first);
    assert!(Arc::ptr_eq(&known, &pattern(&next)));
    assert_eq!(Arc::strong_count(&known), 5, "two hosts of two tables");
    drop(first);
    // What is no longer used goes.
    let last = next.next(&ir::Config::default(), |id| id.service.to_string());
    drop(next);
    assert_eq!(Arc::strong_count(&known), 1);
    assert!(Arc::ptr_eq(&known, &pattern(&last)), "still held");
}

#[test]
fn a_change_of_one_host_shares_all_others() {
    let first = compile(&config(vec![
        ("a", vec![candidate("p", "/p")]),
        ("*.b", vec![candidate("q", "/q")]),
        ("gone", vec![candidate("r", "/r")]),
        ("*", vec![candidate("s", "/s")]),
    ]));
    let changed = config(vec![("a", vec![candidate("t", "/p")])]).hosts;
    let changed = changed
        .into_iter()
        .map(|(host, routes)| (host, Some(Arc::new(routes))));
    let delta = ir::Delta {
        hosts: changed.chain([(host("gone"), None)]).collect(),
        ..ir::Delta::default()
    };
    let next = first.change(&delta, |id| id.service.to_string());
    assert_eq!(next.generation(), first.generation() + 1);
    let of = |table: &super::Table<String>, name: &str| {
        std::ptr::from_ref(table.host(name).expect("a host")).addr()
    };
    for shared in ["x.b", "other"] {
        assert_eq!(of(&first, shared), of(&next, shared), "{shared}");
    }
    assert_ne!(of(&first, "a"), of(&next, "a"));
    assert_eq!(Asked::new("a", "/p").taken_by(&next), Some("t"));
    assert_eq!(Asked::new("a", "/p").taken_by(&first), Some("p"));
    assert_eq!(Asked::new("gone", "/s").taken_by(&next), Some("s"));
    assert_eq!(next.routes().count(), 3);
}

#[test]
fn a_table_knows_whether_a_configuration_would_change_it() {
    let base = || {
        let mut config = config(vec![
            ("a", vec![candidate("p", "/p"), candidate("q", "~/q")]),
            ("*", vec![candidate("any", "/")]),
        ]);
        config.fallback = Some(rule("fallback", vec![]));
        config
    };
    let table = compile(&base());
    assert!(table.serves(&base()));
    let mut endpoints = base();
    let id = ir::BackendId {
        namespace: "default".into(),
        service: "echo".into(),
        port: 80,
    };
    endpoints.backends.insert(id, ir::Backend::default());
    assert!(table.serves(&endpoints));

    let changes: [fn(&mut ir::Config); 9] = [
        |config| {
            config
                .hosts
                .insert(host("empty"), ir::HostRoutes::default());
        },
        |config| config.fallback = None,
        |config| drop(config.hosts.remove(&host("a"))),
        |config| {
            let routes = config.hosts[&host("a")].clone();
            config.hosts.insert(host("b"), routes);
        },
        |config| {
            for routes in config.hosts.values_mut() {
                routes.candidates.pop();
            }
        },
        |config| {
            config
                .hosts
                .values_mut()
                .for_each(|routes| routes.default = Some(rule("d", vec![])));
        },
        |config| {
            for candidate in config
                .hosts
                .values_mut()
                .flat_map(|routes| &mut routes.candidates)
            {
                candidate.traffic = Traffic::Handshakes;
            }
        },
        |config| {
            for candidate in config
                .hosts
                .values_mut()
                .flat_map(|routes| &mut routes.candidates)
            {
                candidate.headers = conditional("x", "/", &[("a", "b")], &[], Traffic::Any).headers;
            }
        },
        |config| {
            for candidate in config
                .hosts
                .values_mut()
                .flat_map(|routes| &mut routes.candidates)
            {
                candidate.route = rule("other", vec![]);
            }
        },
    ];
    for (number, change) in changes.iter().enumerate() {
        let mut config = base();
        change(&mut config);
        assert!(!table.serves(&config), "change {number}");
    }
}

#[test]
fn the_next_table_shares_the_routes_of_unchanged_rules() {
    let before = config(vec![
        ("a", vec![candidate("p", "/p")]),
        ("b", vec![candidate("q", "/q")]),
    ]);
    let first = compile(&before);
    let mut after = before.clone();
    after.hosts.remove(&host("b"));
    after
        .hosts
        .extend(config(vec![("c", vec![candidate("r", "/r")])]).hosts);
    let mut resolved = 0;
    let next = first.next(&after, |id| {
        resolved += 1;
        id.service.to_string()
    });
    assert_eq!(resolved, 1, "only what is new");
    let route = |table: &super::Table<String>, name, path| {
        let asked = Asked::new(name, path);
        Arc::clone(table.find(&asked).expect("taken").route)
    };
    assert!(Arc::ptr_eq(
        &route(&first, "a", "/p"),
        &route(&next, "a", "/p")
    ));
    assert_eq!(&*route(&next, "c", "/r").rule.id.rule, "r");
    assert_eq!(Asked::new("b", "/q").taken_by(&next), None);
}
