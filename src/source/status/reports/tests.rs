use std::time::Duration;

use super::{super::places, *};
use crate::{
    ir::ObjectVersion,
    source::{
        cluster::{StoredCondition, StoredIngress, StoredRoute},
        peers::{Reached, Replica},
    },
    translate::{Condition, Verdict},
};

fn key(kind: &str, name: &str) -> ObjectKey {
    ObjectKey {
        kind: kind.to_owned(),
        namespace: "shop".to_owned(),
        name: name.to_owned(),
    }
}

fn verdict(key: &ObjectKey, generation: i64, ours: bool) -> Arc<Verdict> {
    let good = |type_, reason| Condition {
        type_,
        status: true,
        reason,
        message: String::new(),
    };
    let conditions = vec![
        good("Accepted", "Accepted"),
        good("ResolvedRefs", "ResolvedRefs"),
        good("Programmed", "Programmed"),
    ];
    Arc::new(Verdict {
        object: key.clone(),
        version: version(generation),
        backends: Vec::new(),
        ours,
        conditions: if ours { conditions } else { Vec::new() },
        warnings: Vec::new(),
    })
}

fn version(generation: i64) -> ObjectVersion {
    ObjectVersion {
        uid: "u".into(),
        generation,
    }
}

fn replica(served: i64) -> Replica {
    Replica {
        name: "other".into(),
        reached: Reached::Yes,
        served: Arc::new([(Arc::from("u"), served)].into_iter().collect()),
        connections: Arc::default(),
    }
}

/// An API server that stores what is written, and a replica that writes.
struct World {
    observed: Arc<Observed>,
    reports: Reports,
    cursor: u64,
    writes: Vec<Write>,
}

impl World {
    fn new() -> Self {
        let observed = Arc::new(Observed::default());
        let reports = Reports::new(Arc::clone(&observed), Instant::now());
        Self {
            observed,
            reports,
            cursor: 0,
            writes: Vec::new(),
        }
    }

    /// Another process that sees the same.
    fn another(&self) -> Self {
        let observed = Arc::clone(&self.observed);
        Self {
            reports: Reports::new(Arc::clone(&observed), Instant::now()),
            observed,
            ..Self::new()
        }
    }

    fn create(&self, key: &ObjectKey, generation: i64) {
        let status = match &*key.kind {
            "Ingress" => StoredStatus::Ingress(StoredIngress::default()),
            _ => StoredStatus::Route(StoredRoute::default()),
        };
        let object = StoredObject {
            version: version(generation),
            resource_version: "1".into(),
            status,
        };
        self.observed.apply([(key.clone(), Some(object))]);
    }

    fn judged(&mut self, verdicts: &[Arc<Verdict>]) {
        self.cursor += 1;
        let moves = Moves {
            cursor: self.cursor,
            complete: false,
            changed: verdicts.to_vec(),
            gone: Vec::new(),
        };
        self.reports.verdicts(moves, Instant::now());
    }

    fn lead(&mut self, replicas: Vec<Replica>) {
        let view = View {
            complete: true,
            replicas,
        };
        self.reports.standing(true, Arc::new(view), Instant::now());
    }

    /// Runs until nothing happens before `time` is over; answers are immediate, and say yes. Gives what was
    /// written.
    async fn run(&mut self, time: Duration) -> Vec<Write> {
        let end = Instant::now() + time;
        loop {
            let (now, clock) = (Instant::now(), clock(0));
            self.reports.stored();
            while self.reports.look(now, &clock) {}
            while let Some(task) = self.reports.next(now, &clock) {
                self.writes.push(task.write.clone());
                store(&self.observed, &task);
                self.reports.done(task, &Answer::Done, now);
            }
            self.reports.stored();
            while self.reports.look(now, &clock) {}
            match self.reports.wake(false) {
                Some(at) if at <= end => tokio::time::sleep_until(at).await,
                _ => break,
            }
        }
        tokio::time::sleep_until(end).await;
        std::mem::take(&mut self.writes)
    }
}

fn clock(second: i64) -> Time {
    Time(jiff::Timestamp::from_second(second).unwrap())
}

fn store(observed: &Observed, task: &Task) {
    let key = &task.write.object;
    let mut object = StoredObject::clone(&observed.get(key).unwrap());
    let status = &task.write.status;
    match (&mut object.status, &task.said) {
        (StoredStatus::Route(route), Said::Route(_)) => {
            let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().into();
            route.ours = status["conditions"].is_array();
            route.observed_generation = status["observedGeneration"].as_i64();
            route.reason = status["reason"].as_str().map(Into::into);
            let conditions = status["conditions"].as_array().into_iter().flatten();
            route.conditions = conditions
                .map(|condition| StoredCondition {
                    type_: text(&condition["type"]),
                    status: text(&condition["status"]),
                    reason: text(&condition["reason"]),
                    message: text(&condition["message"]),
                    observed_generation: condition["observedGeneration"].as_i64(),
                    since: clock(0),
                })
                .collect();
        }
        (StoredStatus::Route(route), Said::Counts(counts)) => {
            route.counted = !counts.is_empty();
            route.endpoints = counts.endpoints.clone();
            route.connections = counts.connections;
        }
        (StoredStatus::Ingress(ingress), Said::Ingress(addresses)) => {
            ingress.addresses = addresses.clone();
            ingress.ours = !addresses.is_empty();
        }
        _ => panic!("{task:?}"),
    }
    observed.apply([(key.clone(), Some(object))]);
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn one_write_and_then_silence_also_for_a_new_leader() {
    let mut world = World::new();
    let chat = key("WebSocketRoute", "chat");
    world.create(&chat, 3);
    world.judged(&[verdict(&chat, 3, true)]);
    assert!(world.run(SECOND).await.is_empty(), "it does not lead");
    world.reports.standing(true, Arc::default(), Instant::now());
    assert!(
        world.run(SECOND).await.is_empty(),
        "the others were not asked"
    );
    world.lead(Vec::new());
    let writes = world.run(100 * SECOND).await;
    assert_eq!(writes.len(), 1, "{writes:?}");
    assert_eq!(writes[0].manager, "hawser");
    assert_eq!(writes[0].status["reason"], "Programmed");
    let mut next = world.another();
    next.judged(&[verdict(&chat, 3, true)]);
    next.lead(vec![replica(1)]);
    assert!(next.run(100 * SECOND).await.is_empty(), "true stays true");
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_lags_is_reported_after_two_seconds() {
    let mut world = World::new();
    let chat = key("WebSocketRoute", "chat");
    world.create(&chat, 3);
    world.lead(vec![replica(2)]);
    world.judged(&[verdict(&chat, 3, true)]);
    assert!(world.run(SECOND).await.is_empty(), "patience");
    let writes = world.run(2 * SECOND).await;
    assert_eq!(writes.len(), 1);
    assert_eq!(writes[0].status["reason"], "Pending");
    world.lead(vec![replica(3)]);
    let writes = world.run(SECOND).await;
    assert_eq!(writes.len(), 1);
    assert_eq!(writes[0].status["reason"], "Programmed");
    world.lead(vec![replica(3), replica(0)]);
    assert!(world.run(100 * SECOND).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn who_no_longer_leads_drops_everything() {
    let mut world = World::new();
    let keys: Vec<_> = (0..200)
        .map(|n| key("WebSocketRoute", &n.to_string()))
        .collect();
    for key in &keys {
        world.create(key, 1);
        world.judged(&[verdict(key, 1, true)]);
    }
    world.lead(Vec::new());
    let written = world.run(SECOND).await.len();
    assert!((50..=102).contains(&written), "{written}");
    world
        .reports
        .standing(false, Arc::default(), Instant::now());
    assert_eq!(world.reports.waiting(Lane::Conditions), 0);
    assert!(world.run(100 * SECOND).await.is_empty());
    world.lead(Vec::new());
    let rest = world.run(100 * SECOND).await.len();
    assert_eq!(written + rest, 200);
}

#[tokio::test(start_paused = true)]
async fn a_newer_generation_is_never_written_over() {
    let mut world = World::new();
    let chat = key("WebSocketRoute", "chat");
    world.create(&chat, 4);
    world.judged(&[verdict(&chat, 4, true)]);
    world.lead(Vec::new());
    assert_eq!(world.run(SECOND).await.len(), 1);
    world.judged(&[verdict(&chat, 3, true)]);
    assert!(world.run(100 * SECOND).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_is_no_longer_ours_is_taken_back_once() {
    let mut world = World::new();
    let chat = key("WebSocketRoute", "chat");
    world.create(&chat, 1);
    world.judged(&[verdict(&chat, 1, true)]);
    world.lead(Vec::new());
    world.run(SECOND).await;
    let before = world.observed.get(&chat).unwrap();
    world.judged(&[verdict(&chat, 1, false)]);
    let writes = world.run(100 * SECOND).await;
    assert_eq!(writes.len(), 1);
    assert_eq!(writes[0].status, serde_json::json!({}));
    // Another Hawser, whose it is now, says something with a manager of its own.
    let mut other = StoredObject::clone(&before);
    if let StoredStatus::Route(route) = &mut other.status {
        route.ours = false;
    }
    world.observed.apply([(chat.clone(), Some(other))]);
    assert!(world.run(100 * SECOND).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_was_ours_while_nobody_ran_is_taken_back() {
    let mut world = World::new();
    let chat = key("WebSocketRoute", "chat");
    world.create(&chat, 1);
    world.judged(&[verdict(&chat, 1, true)]);
    world.lead(Vec::new());
    world.run(SECOND).await;
    world
        .reports
        .count(&Endpoints::default(), &HashMap::new(), Instant::now());
    assert_eq!(world.run(SECOND).await.len(), 1);
    let mut next = world.another();
    next.judged(&[verdict(&chat, 1, false)]);
    next.lead(Vec::new());
    let mut writes = next.run(SECOND).await;
    tokio::time::sleep(100 * SECOND).await;
    next.reports
        .count(&Endpoints::default(), &HashMap::new(), Instant::now());
    writes.extend(next.run(100 * SECOND).await);
    let managers: Vec<_> = writes.iter().map(|write| write.manager).collect();
    assert_eq!(managers, ["hawser", "hawser-counts"]);
    assert!(
        writes
            .iter()
            .all(|write| write.status == serde_json::json!({}))
    );
}

/// Another controller writes its addresses to an Ingress.
fn rewrite(observed: &Observed, key: &ObjectKey, ip: &str) {
    let mut object = StoredObject::clone(&observed.get(key).unwrap());
    object.status = StoredStatus::Ingress(StoredIngress {
        addresses: vec![Address::Ip(ip.into())],
        ours: false,
    });
    observed.apply([(key.clone(), Some(object))]);
}

#[tokio::test(start_paused = true)]
async fn no_new_leader_touches_what_another_controller_wrote() {
    let address = |ip: &str| Some(Arc::from([Address::Ip(ip.into())]));
    let mut world = World::new();
    let web = key("Ingress", "web");
    world.create(&web, 1);
    world.judged(&[verdict(&web, 1, true)]);
    world.reports.addresses(address("192.0.2.1"));
    world.lead(Vec::new());
    assert_eq!(world.run(SECOND).await.len(), 1);
    rewrite(&world.observed, &web, "198.51.100.1");
    assert!(world.run(100 * SECOND).await.is_empty());
    for new in ["192.0.2.1", "192.0.2.2"] {
        world
            .reports
            .standing(false, Arc::default(), Instant::now());
        world.reports.addresses(address(new));
        world.lead(Vec::new());
        assert!(world.run(100 * SECOND).await.is_empty(), "{new}");
    }
    // Another process, too.
    let mut next = world.another();
    next.judged(&[verdict(&web, 1, true)]);
    next.reports.addresses(address("192.0.2.1"));
    next.lead(Vec::new());
    assert!(next.run(100 * SECOND).await.is_empty());
}

/// An Ingress of ours that has our address, and what writes.
async fn ingress_of_ours() -> (World, ObjectKey) {
    let mut world = World::new();
    let web = key("Ingress", "web");
    world.create(&web, 1);
    let addresses = Some(Arc::from([Address::Ip("192.0.2.1".into())]));
    world.reports.addresses(addresses);
    world.judged(&[verdict(&web, 1, true)]);
    world.lead(Vec::new());
    assert_eq!(world.run(SECOND).await.len(), 1);
    (world, web)
}

#[tokio::test(start_paused = true)]
async fn what_comes_back_to_our_class_gets_our_address_again() {
    let (mut world, web) = ingress_of_ours().await;
    world.judged(&[verdict(&web, 1, false)]);
    rewrite(&world.observed, &web, "198.51.100.1");
    assert!(world.run(10 * SECOND).await.is_empty(), "it is theirs");
    world.judged(&[verdict(&web, 1, true)]);
    assert_eq!(world.run(10 * SECOND).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_class_that_is_replaced_gives_no_right_to_what_others_wrote() {
    let (mut world, web) = ingress_of_ours().await;
    rewrite(&world.observed, &web, "198.51.100.1");
    assert!(world.run(10 * SECOND).await.is_empty());
    world.judged(&[verdict(&web, 1, false)]);
    assert!(world.run(SECOND).await.is_empty());
    world.judged(&[verdict(&web, 1, true)]);
    assert!(world.run(100 * SECOND).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_the_class_before_left_is_taken_over_once() {
    let mut world = World::new();
    let web = key("Ingress", "web");
    world.create(&web, 1);
    rewrite(&world.observed, &web, "198.51.100.1");
    let addresses = Some(Arc::from([Address::Ip("192.0.2.1".into())]));
    world.reports.addresses(addresses);
    world.judged(&[verdict(&web, 1, false)]);
    world.lead(Vec::new());
    assert!(world.run(3 * SECOND).await.is_empty(), "not ours");
    // The leader changes right after the class.
    world
        .reports
        .standing(false, Arc::default(), Instant::now());
    world.judged(&[verdict(&web, 1, true)]);
    tokio::time::sleep(10 * SECOND).await;
    world.lead(Vec::new());
    assert_eq!(world.run(SECOND).await.len(), 1);

    rewrite(&world.observed, &web, "198.51.100.1");
    world
        .reports
        .standing(false, Arc::default(), Instant::now());
    world.lead(Vec::new());
    assert!(world.run(100 * SECOND).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_thousand_ingresses_are_a_thousand_writes() {
    let mut world = World::new();
    world.lead(Vec::new());
    world
        .reports
        .addresses(Some(Arc::from([Address::Ip("192.0.2.1".into())])));
    for n in 0..1_000 {
        let key = key("Ingress", &n.to_string());
        world.create(&key, 1);
        world.judged(&[verdict(&key, 1, true)]);
    }
    let writes = world.run(30 * SECOND).await;
    assert_eq!(writes.len(), 1_000);
    assert!(world.run(100 * SECOND).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_address_stays_until_another_install_has_taken_it_over() {
    let mut world = World::new();
    world.lead(Vec::new());
    world
        .reports
        .addresses(Some(Arc::from([Address::Ip("192.0.2.1".into())])));
    let web = key("Ingress", "web");
    world.create(&web, 1);
    world.judged(&[verdict(&web, 1, true)]);
    assert_eq!(world.run(SECOND).await.len(), 1);
    world.judged(&[verdict(&web, 1, false)]);
    assert!(world.run(SECOND).await.is_empty());
    let writes = world.run(2 * SECOND).await;
    assert_eq!(writes.len(), 1);
    assert_eq!(writes[0].status, serde_json::json!({}));
    assert!(world.run(100 * SECOND).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn counts_come_soon_and_then_once_a_minute() {
    let mut world = World::new();
    let chat = key("WebSocketRoute", "chat");
    world.create(&chat, 1);
    world.judged(&[verdict(&chat, 1, true)]);
    world.lead(Vec::new());
    world.run(SECOND).await;
    let id = ir::ObjectId {
        namespace: "shop".into(),
        name: "chat".into(),
        kind: ir::RouteKind::WebSocketRoute,
    };
    let mut at = Vec::new();
    let start = Instant::now();
    for second in 0..150_u64 {
        let own = [(id.clone(), 10 * (second + 1))].into_iter().collect();
        world
            .reports
            .count(&Endpoints::default(), &own, Instant::now());
        for write in world.run(SECOND).await {
            assert_eq!(write.manager, "hawser-counts");
            at.push((Instant::now() - start).as_secs());
        }
    }
    assert_eq!(at, [1, 61, 121]);
}

#[tokio::test(start_paused = true)]
async fn a_new_leader_writes_no_count_before_all_were_heard() {
    let mut world = World::new();
    let chat = key("WebSocketRoute", "chat");
    world.create(&chat, 1);
    world.judged(&[verdict(&chat, 1, true)]);
    let lost = Replica {
        reached: Reached::NoSince(Instant::now()),
        ..replica(1)
    };
    world.lead(vec![lost]);
    world.run(SECOND).await;
    let own = HashMap::new();
    world
        .reports
        .count(&Endpoints::default(), &own, Instant::now());
    assert!(world.run(SECOND).await.is_empty());
    world.lead(vec![replica(1)]);
    world
        .reports
        .count(&Endpoints::default(), &own, Instant::now());
    assert_eq!(world.run(SECOND).await.len(), 1);
}

/// A leader with twenty routes that wait for their first status.
fn twenty_to_write() -> World {
    let mut world = World::new();
    for n in 0..20 {
        let key = key("WebSocketRoute", &n.to_string());
        world.create(&key, 1);
        world.judged(&[verdict(&key, 1, true)]);
    }
    world.lead(Vec::new());
    while world.reports.look(Instant::now(), &clock(0)) {}
    world
}

#[tokio::test(start_paused = true)]
async fn without_the_right_to_write_it_asks_less_and_less() {
    let mut world = twenty_to_write();
    let clock = clock(0);
    let mut waits = Vec::new();
    for _ in 0..8 {
        let now = Instant::now();
        let task = world.reports.next(now, &clock).unwrap();
        let answer = Answer::Forbidden(String::new());
        world.reports.done(task, &answer, now);
        assert!(world.reports.next(now, &clock).is_none());
        assert_eq!(world.reports.waiting(Lane::Conditions), 20);
        let wake = world.reports.wake(false).unwrap();
        waits.push((wake - now).as_secs());
        tokio::time::sleep_until(wake).await;
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
    assert_eq!(world.run(100 * SECOND).await.len(), 20, "the right came");
}

#[tokio::test(start_paused = true)]
async fn what_the_server_refuses_is_tried_again_when_it_changes() {
    let mut world = World::new();
    let chat = key("WebSocketRoute", "chat");
    world.create(&chat, 1);
    world.judged(&[verdict(&chat, 1, true)]);
    world.lead(Vec::new());
    let (now, clock) = (Instant::now(), clock(0));
    world.reports.look(now, &clock);
    let task = world.reports.next(now, &clock).unwrap();
    let answer = Answer::Invalid(String::new());
    world.reports.done(task, &answer, now);
    assert!(world.run(100 * SECOND).await.is_empty());
    world.create(&chat, 2);
    world.judged(&[verdict(&chat, 2, true)]);
    assert_eq!(world.run(SECOND).await.len(), 1);
}

/// As long as an API server may take for one write.
const SLOW: Duration = Duration::from_secs(10);

#[tokio::test(start_paused = true)]
async fn namespaces_whose_writes_hang_and_fail_hold_up_nobody_else() {
    let mut world = World::new();
    for n in 0..60 {
        let bad = ObjectKey {
            namespace: format!("bad-{}", n % 5),
            ..key("WebSocketRoute", &n.to_string())
        };
        world.create(&bad, 1);
        world.judged(&[verdict(&bad, 1, true)]);
    }
    world.lead(Vec::new());
    let clock = clock(0);
    let mut under_way: Vec<(Instant, Task)> = Vec::new();
    let (mut made, mut ends) = (None, 0);
    let start = Instant::now();
    let waited = loop {
        let now = Instant::now();
        if made.is_none() && now >= start + 5 * SLOW + SECOND {
            let good = key("WebSocketRoute", "good");
            world.create(&good, 1);
            world.judged(&[verdict(&good, 1, true)]);
            made = Some(now);
        }
        while world.reports.look(now, &clock) {}
        let (ended, still): (Vec<_>, Vec<_>) = under_way.drain(..).partition(|(at, _)| *at <= now);
        under_way = still;
        for (_, task) in ended {
            ends += 1;
            // One of them fails with every other object only.
            let well = task.write.object.namespace == "bad-0" && ends % 2 == 0;
            if well {
                store(&world.observed, &task);
            }
            let answer = if well {
                Answer::Done
            } else {
                Answer::Failed("injected".to_owned())
            };
            world.reports.done(task, &answer, now);
        }
        let mut good = false;
        while under_way.len() < places::ALL
            && let Some(task) = world.reports.next(now, &clock)
        {
            good |= task.write.object.namespace == "shop";
            under_way.push((now + SLOW, task));
        }
        if good {
            break made.map(|made| now - made);
        }
        tokio::time::sleep(SECOND / 10).await;
    };
    assert!(waited.is_some_and(|waited| waited < SECOND), "{waited:?}");
    // Each takes what there is until it is known, then two places are theirs.
    assert!(ends < 5 * places::ALL, "{ends}");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_tried_while_the_api_server_is_away() {
    let mut world = twenty_to_write();
    let clock = clock(0);
    for _ in 0..10 {
        let now = Instant::now();
        let task = world.reports.next(now, &clock).unwrap();
        world
            .reports
            .done(task, &Answer::Down("injected".to_owned()), now);
        assert!(world.reports.next(now, &clock).is_none());
        let wake = world.reports.wake(false).unwrap();
        assert!(wake - now <= 5 * SECOND, "{:?}", wake - now);
        tokio::time::sleep_until(wake).await;
    }
    assert_eq!(world.run(100 * SECOND).await.len(), 20, "it is back");
}
