use rstest::rstest;

use super::*;
use crate::{api::ObjectKey, ir, translate::Condition};

fn verdict(conditions: &[(&'static str, bool, &'static str)]) -> Verdict {
    let conditions = conditions.iter().map(|(type_, status, reason)| Condition {
        type_,
        status: *status,
        reason,
        message: String::new(),
    });
    Verdict {
        object: ObjectKey {
            kind: "WebSocketRoute".to_owned(),
            namespace: "shop".to_owned(),
            name: "chat".to_owned(),
        },
        version: ir::ObjectVersion {
            uid: "u".into(),
            generation: 3,
        },
        backends: Vec::new(),
        ours: true,
        conditions: conditions.collect(),
        warnings: Vec::new(),
    }
}

fn programmed(status: bool, reason: &'static str) -> Judgement {
    Judgement {
        status,
        reason,
        message: String::new(),
    }
}

fn at(second: i64) -> Time {
    Time(jiff::Timestamp::from_second(second).unwrap())
}

fn desired(conditions: &[(&'static str, bool, &'static str)], now: i64) -> RouteStatus {
    let (verdict, judged) = (verdict(conditions), programmed(true, "Programmed"));
    RouteStatus::desired(&verdict, judged, &RouteStatus::default(), &at(now))
}

const GOOD: [(&str, bool, &str); 2] = [
    ("Accepted", true, "Accepted"),
    ("ResolvedRefs", true, "ResolvedRefs"),
];

#[rstest]
#[case(&GOOD, programmed(true, "Programmed"), "Programmed")]
#[case(&GOOD, programmed(false, "Pending"), "Pending")]
#[case(&GOOD, programmed(true, "ReplicaUnreachable"), "ReplicaUnreachable")]
#[case(&[GOOD[0], ("ResolvedRefs", false, "BackendNotFound")], programmed(true, "Programmed"), "BackendNotFound")]
#[case(&[GOOD[0], GOOD[1], ("PartiallyInvalid", true, "Conflicted")], programmed(true, "Programmed"), "Conflicted")]
#[case(&[("Accepted", false, "InvalidSpec"), GOOD[1], ("Programmed", false, "NoValidRule")], programmed(false, "NoValidRule"), "InvalidSpec")]
fn the_reason_is_the_first_that_is_not_good(
    #[case] conditions: &[(&'static str, bool, &'static str)],
    #[case] judged: Judgement,
    #[case] expect: &str,
) {
    let verdict = verdict(conditions);
    let status = RouteStatus::desired(&verdict, judged, &RouteStatus::default(), &at(1));
    assert_eq!(status.reason.as_deref(), Some(expect));
}

#[test]
fn a_time_moves_only_with_its_status() {
    let before = desired(&GOOD, 100);
    let changed = verdict(&[GOOD[0], ("ResolvedRefs", false, "PortNotFound")]);
    let after = RouteStatus::desired(&changed, programmed(true, "Programmed"), &before, &at(200));
    assert_eq!(after.condition("Accepted").unwrap().since, at(100));
    assert_eq!(after.condition("ResolvedRefs").unwrap().since, at(200));
    assert!(!same(&before, &after));
    assert!(same(&before, &desired(&GOOD, 300)), "times say nothing");
}

#[test]
fn an_apply_says_everything_or_nothing() {
    let body = desired(&GOOD, 0).body();
    assert_eq!(
        body,
        json!({
            "observedGeneration": 3,
            "reason": "Programmed",
            "conditions": [
                {"type": "Accepted", "status": "True", "reason": "Accepted", "message": "",
                 "observedGeneration": 3, "lastTransitionTime": "1970-01-01T00:00:00Z"},
                {"type": "ResolvedRefs", "status": "True", "reason": "ResolvedRefs", "message": "",
                 "observedGeneration": 3, "lastTransitionTime": "1970-01-01T00:00:00Z"},
                {"type": "Programmed", "status": "True", "reason": "Programmed", "message": "",
                 "observedGeneration": 3, "lastTransitionTime": "1970-01-01T00:00:00Z"},
            ],
        })
    );
    assert_eq!(RouteStatus::default().body(), json!({}));
}

#[test]
fn conditions_of_others_are_no_part_of_it() {
    let mut stored = StoredRoute {
        ours: true,
        observed_generation: Some(3),
        reason: Some("Programmed".into()),
        conditions: desired(&GOOD, 0).conditions,
        ..StoredRoute::default()
    };
    let mut foreign = stored.conditions[0].clone();
    foreign.type_ = "example.com/Checked".into();
    stored.conditions.insert(0, foreign);
    stored.conditions.reverse();
    assert!(same(&RouteStatus::stored(&stored), &desired(&GOOD, 0)));
}

#[test]
fn a_message_fits_the_schema() {
    let long = "ä".repeat(MAX_MESSAGE + 1);
    assert_eq!(cut(long).chars().count(), MAX_MESSAGE);
    assert_eq!(cut("short".to_owned()), "short");
}
