use super::*;

fn key(n: usize) -> ObjectKey {
    ObjectKey {
        kind: "Ingress".to_owned(),
        namespace: "shop".to_owned(),
        name: n.to_string(),
    }
}

/// Writes everything that can be written until then, and says how much.
async fn drain(queue: &mut Queue, until: Instant) -> usize {
    let mut written = 0;
    loop {
        while let Some((lane, object)) = queue.pop(Instant::now()) {
            written += 1;
            queue.finish(lane, &object, Next::Done, Instant::now());
        }
        match queue.wake() {
            Some(at) if at <= until => tokio::time::sleep_until(at).await,
            _ => return written,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn conditions_go_out_at_fifty_a_second_and_once_each() {
    let start = Instant::now();
    let mut queue = Queue::new(start);
    for n in 0..1_000 {
        queue.push(Lane::Conditions, &key(n));
        queue.push(Lane::Conditions, &key(n));
    }
    assert_eq!(queue.len(Lane::Conditions), 1_000);
    let second = Duration::from_secs(1);
    let written = drain(&mut queue, start + 10 * second).await;
    assert!((500..=551).contains(&written), "{written}");
    let rest = drain(&mut queue, start + 60 * second).await;
    assert_eq!(written + rest, 1_000);
    assert_eq!(queue.wake(), None);
}

#[tokio::test(start_paused = true)]
async fn counts_go_out_at_two_a_second_and_give_way() {
    let start = Instant::now();
    let mut queue = Queue::new(start);
    for n in 0..100 {
        queue.push(Lane::Counts, &key(n));
    }
    queue.push(Lane::Conditions, &key(0));
    let (lane, object) = queue.pop(start).unwrap();
    assert_eq!(lane, Lane::Conditions);
    queue.finish(lane, &object, Next::Done, start);
    let written = drain(&mut queue, start + Duration::from_secs(10)).await;
    assert!((18..=22).contains(&written), "{written}");
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_addresses_hold_up_no_condition_and_no_count() {
    let start = Instant::now();
    let mut queue = Queue::new(start);
    for n in 0..10_000 {
        queue.push(Lane::Addresses, &key(n));
    }
    let second = Duration::from_secs(1);
    // What may come at once is spent.
    drain(&mut queue, start + second).await;
    let begun = Instant::now();
    for n in 0..20 {
        queue.push(Lane::Conditions, &key(n));
    }
    queue.push(Lane::Counts, &key(0));
    let mut written = Vec::new();
    while written.len() < 40 {
        if let Some((lane, object)) = queue.pop(Instant::now()) {
            queue.finish(lane, &object, Next::Done, Instant::now());
            written.push(lane);
        }
        tokio::time::sleep_until(queue.wake().expect("more")).await;
    }
    assert_eq!(written[..20], [Lane::Conditions; 20]);
    assert_eq!(written[20], Lane::Counts);
    assert_eq!(written[21..], [Lane::Addresses; 19]);
    // One pace for both.
    let took = begun.elapsed();
    assert!(took >= 35 * second / 50, "{took:?}");
    assert!(took <= second, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn an_object_is_under_way_once() {
    let now = Instant::now();
    let mut queue = Queue::new(now);
    queue.push(Lane::Conditions, &key(1));
    let (lane, object) = queue.pop(now).unwrap();
    queue.push(Lane::Conditions, &key(1));
    assert!(queue.pop(now).is_none(), "it is on its way");
    queue.finish(lane, &object, Next::Done, now);
    assert!(queue.pop(now).is_some(), "it changed meanwhile");
}

#[tokio::test(start_paused = true)]
async fn failures_wait_longer_each_time_whatever_is_pushed() {
    let mut queue = Queue::new(Instant::now());
    queue.push(Lane::Conditions, &key(1));
    let mut waits = Vec::new();
    for _ in 0..12 {
        let now = Instant::now();
        let (lane, object) = queue.pop(now).unwrap();
        queue.finish(lane, &object, Next::Retry, now);
        queue.push(Lane::Conditions, &key(1));
        let at = queue.wake().unwrap();
        waits.push(at - now);
        tokio::time::sleep_until(at).await;
    }
    assert!(waits[0] <= Duration::from_millis(250), "{waits:?}");
    assert!(
        waits[11] >= MAX_DELAY / 2 && waits[11] <= MAX_DELAY,
        "{waits:?}"
    );
    assert_eq!(queue.len(Lane::Conditions), 1);
}

#[tokio::test(start_paused = true)]
async fn a_pause_is_as_long_as_the_server_asks_and_short_otherwise() {
    let now = Instant::now();
    let mut queue = Queue::new(now);
    queue.push(Lane::Conditions, &key(1));
    queue.pause(Some(Duration::from_secs(7)), now);
    assert!(queue.pop(now).is_none());
    let at = queue.wake().unwrap();
    assert_eq!(at, now + Duration::from_secs(7));
    for _ in 0..50 {
        queue.pause(None, at);
    }
    assert!(queue.wake().unwrap() <= at + MAX_PAUSE);
    assert!(queue.pop(at + MAX_PAUSE).is_some());
}
