use futures_util::stream;
use serde_json::json;
use tokio::sync::mpsc;

use super::*;

fn service(ips: &[&str]) -> Service {
    let ingress: Vec<_> = ips.iter().map(|ip| json!({"ip": ip})).collect();
    let service = json!({
        "metadata": {"name": "hawser"},
        "spec": {"type": "LoadBalancer"},
        "status": {"loadBalancer": {"ingress": ingress}},
    });
    serde_json::from_value(service).expect("a Service")
}

type Events = mpsc::UnboundedSender<Result<Event<Service>, Failure>>;
type Found = watch::Receiver<Option<Arc<[Address]>>>;

/// Follows events that the test makes.
fn follow_events() -> (Events, Found) {
    let (events, queue) = mpsc::unbounded_channel();
    let (found, seen) = watch::channel(None);
    let queue = stream::unfold(queue, async |mut queue| Some((queue.recv().await?, queue)));
    tokio::spawn(async move {
        let followed = Followed {
            namespace: "edge".to_owned(),
            name: "hawser".to_owned(),
            found: &found,
            empty_since: None,
            said: None,
            told: None,
        };
        followed.run(queue).await;
        // The last addresses stay readable.
        std::future::pending::<()>().await;
    });
    (events, seen)
}

async fn next(found: &mut Found) -> String {
    found.changed().await.expect("it goes on");
    words(found.borrow_and_update().as_deref().expect("known"))
}

fn list(events: &Events, listed: Option<Service>) {
    let listed = listed.into_iter().collect();
    events.send(Ok(Event::Listed(listed))).expect("it listens");
}

#[tokio::test(start_paused = true)]
async fn addresses_are_sent_when_they_change() {
    let (events, mut found) = follow_events();
    assert_eq!(*found.borrow(), None);
    list(&events, Some(service(&["203.0.113.2", "203.0.113.1"])));
    assert_eq!(next(&mut found).await, "203.0.113.1, 203.0.113.2");

    list(&events, Some(service(&["203.0.113.1", "203.0.113.2"])));
    events
        .send(Ok(Event::Set(service(&["203.0.113.3"]))))
        .expect("it listens");
    // The same in another order was not sent.
    assert_eq!(next(&mut found).await, "203.0.113.3");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_made_anew_never_empties_the_status() {
    let (events, mut found) = follow_events();
    list(&events, Some(service(&["203.0.113.1"])));
    assert_eq!(next(&mut found).await, "203.0.113.1");
    let start = Instant::now();
    events
        .send(Ok(Event::Deleted(service(&["203.0.113.1"]))))
        .expect("it listens");
    tokio::time::sleep(GRACE / 2).await;
    events
        .send(Ok(Event::Set(service(&[]))))
        .expect("it listens");
    tokio::time::sleep(GRACE / 4).await;
    events
        .send(Ok(Event::Set(service(&["203.0.113.9"]))))
        .expect("it listens");
    assert_eq!(next(&mut found).await, "203.0.113.9");
    assert!(start.elapsed() < GRACE);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_stays_away_empties_the_status() {
    let (events, mut found) = follow_events();
    list(&events, Some(service(&["203.0.113.1"])));
    assert_eq!(next(&mut found).await, "203.0.113.1");
    let start = Instant::now();
    // An outage in between changes nothing.
    events.send(Err(Failure::Silent)).expect("it listens");
    list(&events, None);
    assert_eq!(next(&mut found).await, "");
    assert!(start.elapsed() >= GRACE);
}

#[tokio::test(start_paused = true)]
async fn an_outage_changes_nothing() {
    let (events, mut found) = follow_events();
    list(&events, Some(service(&["203.0.113.1"])));
    assert_eq!(next(&mut found).await, "203.0.113.1");
    for _ in 0..100 {
        events.send(Err(Failure::Silent)).expect("it listens");
        tokio::time::sleep(GRACE).await;
    }
    assert!(!found.has_changed().expect("it goes on"));
}
