//! Lengths of lists and texts: the limit passes, one more does not.

use rstest::rstest;

use super::*;

fn named(count: usize) -> Value {
    (0..count)
        .map(|index| json!({"name": format!("x-{index}"), "value": "1"}))
        .collect()
}

fn texts(count: usize) -> Value {
    (0..count)
        .map(|index| json!(format!("x-{index}")))
        .collect()
}

fn rules(count: usize) -> Value {
    (0..count)
        .map(
            |index| json!({"name": format!("r{index}"), "backendRefs": [{"name": "a", "port": 1}]}),
        )
        .collect()
}

#[rstest]
#[case("/spec/rules", rules, 64)]
#[case("/spec/hostnames", |count| (0..count).map(|index| json!(format!("h{index}.example"))).collect(), 16)]
#[case("/spec/rules/0/matches", |count| (0..count).map(|_| json!({})).collect(), 16)]
#[case("/spec/rules/0/backendRefs", |count| (0..count).map(|_| json!({"name": "a", "port": 1})).collect(), 16)]
#[case("/spec/rules/0/matches/0/headers", named, 16)]
#[case("/spec/rules/0/matches/0/queryParams", named, 16)]
#[case("/spec/rules/0/upgrade/subprotocols", texts, 16)]
#[case("/spec/rules/0/headers/request/set", named, 16)]
#[case("/spec/rules/0/headers/request/add", named, 16)]
#[case("/spec/rules/0/headers/response/remove", texts, 16)]
fn lists(#[case] pointer: &str, #[case] list: fn(usize) -> Value, #[case] limit: usize) {
    assert_eq!(
        problems(with(route(), pointer, list(limit))),
        Vec::<String>::new()
    );
    let found = problems(with(route(), pointer, list(limit + 1)));
    let words = format!("more than {limit} in the list");
    assert!(
        found.iter().any(|problem| problem.contains(&words)),
        "{found:#?}"
    );
}

#[rstest]
#[case("/spec/ingressClassName", "", 253)]
#[case("/spec/hostnames/0", "", 253)]
#[case("/spec/rules/0/name", "", 63)]
#[case("/spec/rules/0/matches/0/path/value", "/", 1024)]
#[case("/spec/rules/0/matches/0/headers/0/name", "", 256)]
#[case("/spec/rules/0/matches/0/headers/0/value", "", 1024)]
#[case("/spec/rules/0/matches/0/queryParams/0/name", "", 256)]
#[case("/spec/rules/0/matches/0/queryParams/0/value", "", 1024)]
#[case("/spec/rules/0/backendRefs/0/name", "", 63)]
#[case("/spec/rules/0/backendRefs/0/port", "", 63)]
#[case("/spec/rules/0/upgrade/subprotocols/0", "", 128)]
#[case("/spec/rules/0/headers/request/set/0/name", "", 256)]
#[case("/spec/rules/0/headers/request/set/0/value", "", 4096)]
#[case("/spec/rules/0/headers/response/remove/0", "", 256)]
#[case("/spec/rules/0/rewrite/prefix", "/", 1024)]
#[case("/spec/rules/0/rewrite/hostname", "", 253)]
fn lengths(#[case] pointer: &str, #[case] start: &str, #[case] limit: usize) {
    let text = |length: usize| json!(format!("{start}{}", "a".repeat(length - start.len())));
    assert_eq!(
        problems(with(route(), pointer, text(limit))),
        Vec::<String>::new()
    );
    let found = problems(with(route(), pointer, text(limit + 1)));
    let words = format!("longer than {limit} characters");
    assert!(
        found.iter().any(|problem| problem.contains(&words)),
        "{found:#?}"
    );
}

#[test]
fn a_manifest_with_very_many_problems_gets_a_short_list() {
    let bad: Value = (0..10_000).map(|_| json!({"nmae": "x"})).collect();
    let found = problems(with(route(), "/spec/rules", bad));
    assert!(found.len() < 40, "{} problems", found.len());
    assert!(found.iter().any(|problem| problem.starts_with(": and ")));
    assert!(found.iter().all(|problem| problem.len() < 600));
}

#[test]
fn the_largest_route_passes() {
    let rule = |index: usize| {
        let mut rule = route()["spec"]["rules"][0].clone();
        rule["name"] = json!(format!("r{index}"));
        let one = rule["matches"][0].clone();
        rule["matches"] = (0..16).map(|_| one.clone()).collect();
        rule
    };
    let all: Value = (0..64).map(rule).collect();
    assert_eq!(
        problems(with(route(), "/spec/rules", all)),
        Vec::<String>::new()
    );
}
