use rstest::rstest;

use super::*;

#[rstest]
#[case(5000, "5s")]
#[case(3_600_000, "1h")]
#[case(300_000, "5m")]
#[case(5_400_500, "1h30m500ms")]
fn durations(#[case] millis: u64, #[case] expect: &str) {
    assert_eq!(shown(Duration::from_millis(millis)), expect);
}

#[rstest]
#[case(Origin::Default, RouteKind::Ingress, "default")]
#[case(
    Origin::Field,
    RouteKind::WebSocketRoute,
    "field spec.rules[socket].timeouts.idle"
)]
#[case(
    Origin::Annotation,
    RouteKind::Ingress,
    "annotation hawser.dev/idle-timeout"
)]
fn origins(#[case] origin: Origin, #[case] kind: RouteKind, #[case] expect: &str) {
    assert_eq!(origin.explain("timeouts.idle", kind, "socket"), expect);
}

#[test]
fn every_setting_that_serializes_is_explained_under_its_name() {
    fn names(value: &serde_json::Value, name: &str, found: &mut Vec<String>) {
        let fields = value.as_object().filter(|it| !it.contains_key("origin"));
        match fields {
            Some(fields) => {
                for (field, value) in fields {
                    names(value, &format!("{name}.{field}"), found);
                }
            }
            None => found.push(name.trim_start_matches('.').to_owned()),
        }
    }
    let policy = Policy::default();
    let mut serialized = Vec::new();
    names(&serde_json::to_value(&policy).unwrap(), "", &mut serialized);
    // Only what is set has lines.
    serialized.retain(|name| !name.starts_with("headers.") && !name.starts_with("rewrite."));
    serialized.sort();
    let explained = policy.explain(RouteKind::WebSocketRoute, "socket");
    let mut explained: Vec<String> = explained.into_iter().map(|line| line.name).collect();
    explained.sort();
    assert_eq!(explained, serialized);
}

#[test]
fn every_annotation_is_of_a_setting() {
    let explained = Policy::default().explain(RouteKind::Ingress, "");
    for (setting, key) in ANNOTATIONS {
        assert!(
            explained.iter().any(|line| line.name == setting),
            "{key} sets {setting}"
        );
    }
}
