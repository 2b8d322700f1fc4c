use hashbrown::HashMap;
use rstest::rstest;

use super::*;

/// A replica: what it serves of the object, and for how many seconds it cannot be reached.
fn replica(name: &str, served: Option<i64>, lost: Option<u64>, now: Instant) -> Replica {
    let served = served.map(|generation| (Arc::from("u"), generation));
    Replica {
        name: name.into(),
        reached: lost.map_or(Reached::Yes, |seconds| {
            Reached::NoSince(now.checked_sub(Duration::from_secs(seconds)).unwrap())
        }),
        served: Arc::new(served.into_iter().collect()),
        connections: Arc::new(HashMap::new()),
    }
}

type Kept<'a> = Option<(i64, bool, &'a str)>;
/// What it serves, and for how many seconds it cannot be reached.
type Others<'a> = &'a [(Option<i64>, Option<u64>)];

const FINE: Option<(bool, &str)> = Some((true, PROGRAMMED));
const LAGS: Option<(bool, &str)> = Some((false, PENDING));
const LOST: Option<(bool, &str)> = Some((true, REPLICA_UNREACHABLE));

#[rstest]
#[case::alone(None, &[], 0, FINE, true)]
#[case::all_serve(None, &[(Some(3), None), (Some(4), None)], 0, FINE, true)]
#[case::one_lags_a_moment(None, &[(Some(3), None), (Some(2), None)], 1, None, false)]
#[case::one_lags_too_long(None, &[(Some(3), None), (None, None)], 2, LAGS, false)]
#[case::one_is_lost(None, &[(Some(2), Some(3))], 2, LAGS, false)]
#[case::lost_after_it_served(None, &[(Some(3), Some(3))], 0, FINE, true)]
#[case::lost_for_a_minute(None, &[(Some(2), Some(60)), (Some(3), None)], 0, LOST, false)]
#[case::lost_and_another_lags(None, &[(Some(2), Some(60)), (Some(2), None)], 2, LAGS, false)]
#[case::older_verdict(Some((2, true, PROGRAMMED)), &[(Some(2), None)], 1, None, false)]
#[case::still_pending(Some((3, false, PENDING)), &[(Some(2), None)], 0, LAGS, false)]
#[case::pending_no_more(Some((3, false, PENDING)), &[(Some(3), None)], 0, FINE, true)]
#[case::valid_again(Some((3, false, NO_VALID_RULE)), &[(Some(2), None)], 0, None, false)]
#[case::once_true_a_new_one(Some((3, true, PROGRAMMED)), &[(None, None)], 9, FINE, true)]
#[case::once_true_a_lost_one(Some((3, true, PROGRAMMED)), &[(None, Some(99))], 9, FINE, true)]
#[case::not_back(Some((3, true, REPLICA_UNREACHABLE)), &[(None, Some(99))], 9, LOST, false)]
#[case::back_but_lags(Some((3, true, REPLICA_UNREACHABLE)), &[(None, None)], 9, LOST, false)]
#[case::back(Some((3, true, REPLICA_UNREACHABLE)), &[(Some(3), None)], 9, FINE, true)]
#[case::never_back(Some((3, true, REPLICA_UNREACHABLE)), &[], 9, FINE, true)]
#[tokio::test(start_paused = true)]
async fn judgements(
    #[case] stored: Kept<'_>,
    #[case] replicas: Others<'_>,
    #[case] age: u64,
    #[case] expect: Option<(bool, &str)>,
    #[case] settled: bool,
) {
    tokio::time::advance(Duration::from_secs(1_000)).await;
    let now = Instant::now();
    let replicas: Vec<_> = replicas
        .iter()
        .map(|(served, lost)| replica("pod", *served, *lost, now))
        .collect();
    let version = ObjectVersion {
        uid: "u".into(),
        generation: 3,
    };
    let facts = Facts {
        version: &version,
        dead: None,
        stored: stored.map(|(generation, status, reason)| Stored {
            generation: Some(generation),
            status,
            reason,
            message: "pod",
        }),
        since: now - Duration::from_secs(age),
        replicas: &replicas,
    };
    let outcome = judge(facts, now);
    let judged = outcome.judgement.as_ref().map(|j| (j.status, j.reason));
    assert_eq!(judged, expect);
    assert_eq!(outcome.settled, settled);
    assert_eq!(
        outcome.judgement.is_none(),
        outcome.again == Some(facts.since + PATIENCE),
        "who waits looks again when the time is up"
    );
    let dead = Facts {
        dead: Some("see Accepted"),
        ..facts
    };
    let dead = judge(dead, now).judgement.unwrap();
    assert_eq!((dead.status, dead.reason), (false, NO_VALID_RULE));
}

#[tokio::test(start_paused = true)]
async fn a_message_names_a_few_and_moves_little() {
    tokio::time::advance(Duration::from_secs(1_000)).await;
    let now = Instant::now();
    let version = ObjectVersion {
        uid: "u".into(),
        generation: 3,
    };
    let message = |names: &[&str], stored: Option<&str>| {
        let replicas: Vec<_> = names.iter().map(|n| replica(n, None, None, now)).collect();
        let facts = Facts {
            version: &version,
            dead: None,
            stored: stored.map(|message| Stored {
                generation: Some(3),
                status: false,
                reason: PENDING,
                message,
            }),
            since: now - PATIENCE,
            replicas: &replicas,
        };
        judge(facts, now).judgement.unwrap().message
    };
    let first = message(&["e", "d", "c", "b", "a"], None);
    assert_eq!(first, "not served yet by a, b, c and 2 more");
    assert_eq!(message(&["c"], Some(&first)), first, "c still lags");
    assert_eq!(
        message(&["z"], Some("not served yet by y")),
        "not served yet by z"
    );
}

#[tokio::test(start_paused = true)]
async fn a_lost_replica_is_looked_at_again_when_it_stops_counting() {
    tokio::time::advance(Duration::from_secs(1_000)).await;
    let now = Instant::now();
    let version = ObjectVersion {
        uid: "u".into(),
        generation: 3,
    };
    let facts = Facts {
        version: &version,
        dead: None,
        stored: None,
        since: now - PATIENCE,
        replicas: &[replica("pod", None, Some(20), now)],
    };
    let outcome = judge(facts, now);
    assert_eq!(outcome.again, Some(now + Duration::from_secs(40)));
}
