use std::collections::BTreeMap;

use rstest::rstest;

use super::*;

fn key() -> ObjectKey {
    ObjectKey {
        kind: "WebSocketRoute".to_owned(),
        namespace: "shop".to_owned(),
        name: "chat".to_owned(),
    }
}

fn counts(ready: i32, total: i32, active: i64) -> Counts {
    Counts {
        endpoints: Some(EndpointsStatus {
            ready,
            total,
            summary: format!("{ready}/{total}"),
        }),
        connections: Some(active),
    }
}

#[rstest]
#[case(counts(3, 3, 100), counts(3, 3, 109), false)]
#[case(counts(3, 3, 100), counts(3, 3, 110), true)]
#[case(counts(3, 3, 100), counts(3, 3, 90), true)]
#[case(counts(3, 3, 0), counts(3, 3, 1), true)]
#[case(counts(3, 3, 1_000), counts(3, 3, 0), true)]
#[case(counts(3, 3, 0), counts(3, 3, 0), false)]
#[case(counts(3, 3, 5), counts(2, 3, 5), true)]
#[case(counts(100, 100, 5), counts(99, 100, 5), false)]
#[case(counts(0, 3, 5), counts(0, 0, 5), true)]
#[case(Counts::default(), counts(0, 0, 0), true)]
#[case(Counts::default(), Counts::default(), false)]
fn small_changes_are_no_write(#[case] before: Counts, #[case] now: Counts, #[case] expect: bool) {
    assert_eq!(worth(&before, &now), expect);
}

#[test]
fn each_endpoint_is_counted_once() {
    let registry = upstream::Registry::default();
    let id = |port| ir::BackendId {
        namespace: "shop".into(),
        service: "chat".into(),
        port,
    };
    let endpoint = |address: &str, ready| ir::Endpoint {
        address: address.parse().unwrap(),
        ready,
        serving: ready,
        terminating: false,
    };
    let both = ir::Backend {
        endpoints: vec![
            endpoint("10.0.0.1:80", true),
            endpoint("10.0.0.2:80", false),
        ],
    };
    registry.apply(
        &BTreeMap::from([(id(80), both.clone()), (id(81), both)]),
        |_| true,
    );
    let endpoints = Endpoints::new(&registry);
    assert_eq!(endpoints.count(&[id(80), id(81)]).summary, "1/2");
    assert_eq!(endpoints.count(&[id(80)]).summary, "1/2");
    assert_eq!(endpoints.count(&[id(9)]).summary, "0/0");
}

fn view(replicas: &[(&str, Reached, Option<u64>)]) -> View {
    let replica = |(name, reached, connections): &(&str, Reached, Option<u64>)| {
        let connections = connections.map(|count| ("WebSocketRoute/shop/chat".into(), count));
        crate::source::peers::Replica {
            name: (*name).into(),
            reached: *reached,
            served: Arc::default(),
            connections: Arc::new(connections.into_iter().collect()),
        }
    };
    View {
        complete: true,
        replicas: replicas.iter().map(replica).collect(),
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_count_of_a_missing_replica_is_kept_for_a_minute() {
    let mut heard = Heard::default();
    let start = Instant::now();
    heard.take(
        &view(&[("a", Reached::Yes, Some(5)), ("b", Reached::Yes, Some(7))]),
        start,
    );
    assert_eq!(heard.connections(&key()), 12);
    heard.take(&view(&[("a", Reached::NoSince(start), Some(5))]), start);
    assert_eq!(heard.connections(&key()), 12);
    assert!(heard.expire(start + UNREACHABLE / 2));
    assert_eq!(heard.connections(&key()), 12);
    heard.expire(start + UNREACHABLE);
    assert_eq!(heard.connections(&key()), 0);
}

#[tokio::test(start_paused = true)]
async fn there_is_no_total_before_all_were_heard() {
    let mut heard = Heard::default();
    let start = Instant::now();
    heard.take(&view(&[("a", Reached::NoSince(start), None)]), start);
    assert!(!heard.expire(start));
    assert!(heard.expire(start + UNREACHABLE), "it no longer counts");
    heard.take(&view(&[("a", Reached::Yes, None)]), start);
    assert!(heard.expire(start), "it has none");
}
