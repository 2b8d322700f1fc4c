//! Shares of the backends of a rule.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::ir;

use super::super::{Destination, Route};
use super::{backend, rule};

fn route(backends: Vec<ir::BackendRef>, start: u64) -> Route<String> {
    Route::new(rule("r", backends), start, &mut |id| id.service.to_string())
}

fn names(route: &Route<String>, picks: usize) -> Vec<String> {
    (0..picks)
        .map(|_| match route.pick() {
            Some(Destination::Backend(name)) => name.clone(),
            Some(Destination::Missing(text)) => format!("missing {text}"),
            None => "nothing".into(),
        })
        .collect()
}

#[test]
fn one_backend_takes_all() {
    assert_eq!(names(&route(vec![backend("a", 7)], 3), 2), ["a", "a"]);
}

#[test]
fn no_weight_means_no_destination() {
    let route = route(vec![backend("a", 0), backend("b", 0)], 0);
    assert_eq!(route.pick(), None);
}

#[test]
fn a_missing_reference_keeps_its_share() {
    let missing = ir::BackendRef {
        target: ir::Target::Missing("no Service default/b".into()),
        weight: 1,
    };
    let route = route(vec![backend("a", 1), missing, backend("z", 0)], 0);
    assert_eq!(
        names(&route, 4),
        [
            "a",
            "missing no Service default/b",
            "a",
            "missing no Service default/b"
        ]
    );
}

#[test]
fn a_small_share_is_spread() {
    let route = route(vec![backend("a", 90), backend("b", 10)], 0);
    let picks = names(&route, 100);
    let places: Vec<usize> = (0..100).filter(|n| picks[*n] == "b").collect();
    assert_eq!(places.len(), 10);
    assert!(places.windows(2).all(|pair| pair[1] - pair[0] == 10));
}

#[test]
fn tables_do_not_all_begin_with_the_same_backend() {
    let backends = || vec![backend("a", 1), backend("b", 1)];
    assert_eq!(names(&route(backends(), 0), 1), ["a"]);
    assert_eq!(names(&route(backends(), 1), 1), ["b"]);
}

proptest! {
    #[test]
    fn shares_are_exact_and_never_bunched(
        weights in prop::collection::vec(0_u32..40, 1..6),
        start in any::<u64>(),
    ) {
        let backends = weights.iter().enumerate().map(|(n, weight)| backend(&n.to_string(), *weight)).collect();
        // Far from the wrap of the counter.
        let route = route(backends, start >> 1);
        let total: u32 = weights.iter().sum();
        let picks = names(&route, total as usize);
        let mut counts = BTreeMap::<&str, u32>::new();
        for name in &picks {
            *counts.entry(name).or_default() += 1;
        }
        for (n, weight) in weights.iter().enumerate() {
            prop_assert_eq!(counts.get(n.to_string().as_str()).copied().unwrap_or(0), *weight);
        }
    }

    #[test]
    fn any_weight_is_fine(weights in prop::collection::vec(any::<u32>(), 0..6), start in any::<u64>()) {
        let backends = weights.iter().enumerate().map(|(n, weight)| backend(&n.to_string(), *weight)).collect();
        let route = route(backends, start);
        for _ in 0..10 {
            prop_assert_eq!(route.pick().is_none(), weights.iter().all(|weight| *weight == 0));
        }
    }
}
