//! Candidates against an API server that is slow, away, or has a record that somebody else wrote.

use std::{future::pending, time::Duration};

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::Timestamp,
};
use parking_lot::Mutex;
use rstest::rstest;
use tokio::{task::JoinHandle, time::sleep};

use super::{
    election::{Action, Election},
    record::{Holder, LEASE_DURATION, Record},
    store::{Store, StoreError},
    *,
};

/// One Lease, as an API server keeps it.
#[derive(Default)]
struct Server {
    lease: Mutex<Option<Lease>>,
    version: Mutex<u64>,
}

/// The way of one candidate to the server.
#[derive(Clone)]
struct Line {
    server: Arc<Server>,
    state: Arc<Mutex<State>>,
}

#[derive(Clone, Copy)]
enum State {
    /// Each answer takes this long; the write is done at half of it.
    Up(Duration),
    /// It fails at once.
    Down,
    /// No answer ever.
    Silent,
}

impl Line {
    async fn ask<T>(
        &self,
        work: impl FnOnce(&Server) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let state = *self.state.lock();
        match state {
            State::Up(time) => {
                sleep(time / 2).await;
                let done = work(&self.server);
                sleep(time / 2).await;
                done
            }
            State::Down => Err(StoreError::Failed("down".to_owned())),
            State::Silent => pending().await,
        }
    }
}

impl Server {
    fn put(&self, mut lease: Lease) -> Lease {
        let mut version = self.version.lock();
        *version += 1;
        lease.metadata.resource_version = Some(version.to_string());
        *self.lease.lock() = Some(lease.clone());
        lease
    }

    fn spec(&self) -> LeaseSpec {
        let lease = self.lease.lock().clone();
        lease.and_then(|lease| lease.spec).unwrap_or_default()
    }
}

impl Store for Line {
    async fn get(&self) -> Result<Lease, StoreError> {
        let none = || StoreError::NotFound(String::new());
        self.ask(|server| server.lease.lock().clone().ok_or_else(none))
            .await
    }

    async fn create(&self, lease: Lease) -> Result<Lease, StoreError> {
        self.ask(|server| {
            if server.lease.lock().is_some() {
                return Err(StoreError::Conflict);
            }
            Ok(server.put(lease))
        })
        .await
    }

    async fn replace(&self, lease: Lease) -> Result<Lease, StoreError> {
        self.ask(|server| {
            let known = server.lease.lock().clone();
            let known = known.ok_or_else(|| StoreError::NotFound(String::new()))?;
            if known.metadata.resource_version != lease.metadata.resource_version {
                return Err(StoreError::Conflict);
            }
            Ok(server.put(lease))
        })
        .await
    }
}

struct Candidate {
    name: &'static str,
    line: Line,
    leader: watch::Receiver<Leadership>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Candidate {
    fn new(name: &'static str, server: &Arc<Server>) -> Self {
        let line = Line {
            server: Arc::clone(server),
            state: Arc::new(Mutex::new(State::Up(Duration::from_millis(20)))),
        };
        let settings = Settings {
            namespace: "system".to_owned(),
            name: "hawser-leader".to_owned(),
            identity: name.to_owned(),
        };
        let (sender, leader) = watch::channel(Leadership::default());
        let stop = CancellationToken::new();
        let campaign = Campaign::new(line.clone(), settings, sender, Metrics::new());
        let task = tokio::spawn(campaign.run(stop.clone()));
        Self {
            name,
            line,
            leader,
            stop,
            task,
        }
    }

    fn leads(&self) -> bool {
        self.leader.borrow().leads()
    }

    fn line(&self, state: State) {
        *self.line.state.lock() = state;
    }
}

/// Lets time pass until `done`; at most one leads at any moment. Gives the time that it took.
async fn pass(all: &[&Candidate], most: Duration, mut done: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    loop {
        let leaders: Vec<_> = all.iter().filter(|one| one.leads()).collect();
        let names: Vec<_> = leaders.iter().map(|one| one.name).collect();
        assert!(leaders.len() <= 1, "{names:?} lead at the same time");
        if done() {
            return start.elapsed();
        }
        let took = start.elapsed();
        assert!(took < most, "not within {most:?}; {names:?} lead");
        sleep(Duration::from_millis(10)).await;
    }
}

/// The same without an event to wait for.
async fn quiet(all: &[&Candidate], time: Duration) {
    let start = Instant::now();
    pass(all, time * 2, || start.elapsed() >= time).await;
}

const SECOND: Duration = Duration::from_secs(1);

/// A leads, B waits.
async fn two() -> (Arc<Server>, Candidate, Candidate) {
    let server = Arc::new(Server::default());
    let a = Candidate::new("a", &server);
    pass(&[&a], SECOND, || a.leads()).await;
    let b = Candidate::new("b", &server);
    quiet(&[&a, &b], 30 * SECOND).await;
    assert!(a.leads(), "a renews for ever");
    (server, a, b)
}

#[tokio::test(start_paused = true)]
async fn of_two_that_begin_together_one_leads() {
    let server = Arc::new(Server::default());
    let (a, b) = (Candidate::new("a", &server), Candidate::new("b", &server));
    pass(&[&a, &b], SECOND, || a.leads() || b.leads()).await;
    quiet(&[&a, &b], 60 * SECOND).await;
    assert!(a.leads() || b.leads());
    assert_eq!(server.spec().lease_transitions, Some(0));
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_given_back_is_taken_within_two_seconds() {
    let (server, mut a, b) = two().await;
    a.stop.cancel();
    pass(&[&a, &b], SECOND, || {
        server.spec().holder_identity.as_deref() == Some("")
    })
    .await;
    assert!(!a.leads());
    pass(&[&a, &b], 2 * SECOND, || b.leads()).await;
    assert_eq!(server.spec().lease_transitions, Some(1));
    (&mut a.task).await.expect("a ended well");
}

#[tokio::test(start_paused = true)]
async fn the_end_does_not_wait_for_an_api_server_that_is_silent() {
    let (_server, mut a, _b) = two().await;
    a.line(State::Silent);
    let start = Instant::now();
    a.stop.cancel();
    (&mut a.task).await.expect("a ended well");
    assert!(start.elapsed() < SECOND, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn who_is_killed_is_followed_within_twenty_seconds() {
    let (_server, a, b) = two().await;
    a.task.abort();
    // Nobody told the readers of `a`: the value itself ends.
    let took = pass(&[&a, &b], 20 * SECOND, || b.leads()).await;
    assert!(took > 12 * SECOND, "{took:?}");
}

#[rstest]
#[case::refused(State::Down)]
#[case::silent(State::Silent)]
#[case::too_slow(State::Up(Duration::from_secs(9)))]
#[tokio::test(start_paused = true)]
async fn who_is_cut_off_stops_before_another_begins(#[case] state: State) {
    let (_server, a, b) = two().await;
    a.line(state);
    let ended = pass(&[&a, &b], 11 * SECOND, || !a.leads()).await;
    assert!(ended >= 7 * SECOND, "{ended:?}: too early");
    assert!(!b.leads());
    pass(&[&a, &b], 10 * SECOND, || b.leads()).await;
    a.line(State::Up(Duration::from_millis(20)));
    quiet(&[&a, &b], 60 * SECOND).await;
    assert!(b.leads(), "who comes back waits");
}

#[tokio::test(start_paused = true)]
async fn slow_answers_and_a_short_outage_cost_nothing() {
    let (_server, a, b) = two().await;
    for state in [
        State::Up(Duration::from_millis(1500)),
        State::Down,
        State::Up(Duration::from_secs(3)),
        State::Silent,
    ] {
        a.line(state);
        b.line(state);
        quiet(&[&a, &b], 6 * SECOND).await;
        assert!(a.leads());
        for one in [&a, &b] {
            one.line(State::Up(Duration::from_millis(20)));
        }
        quiet(&[&a, &b], 10 * SECOND).await;
    }
    assert!(a.leads() && a.line.server.spec().lease_transitions == Some(0));
}

#[tokio::test(start_paused = true)]
async fn after_an_outage_there_is_a_leader_again() {
    let (_server, a, b) = two().await;
    for one in [&a, &b] {
        one.line(State::Down);
    }
    quiet(&[&a, &b], 600 * SECOND).await;
    assert!(!a.leads() && !b.leads());
    for one in [&a, &b] {
        one.line(State::Up(Duration::from_millis(20)));
    }
    pass(&[&a, &b], 3 * SECOND, || a.leads() || b.leads()).await;
}

#[tokio::test(start_paused = true)]
async fn a_deleted_lease_is_made_again_by_its_holder() {
    let (server, a, b) = two().await;
    *server.lease.lock() = None;
    quiet(&[&a, &b], 60 * SECOND).await;
    assert!(a.leads());
    assert_eq!(server.spec().holder_identity.as_deref(), Some("a"));
}

#[tokio::test(start_paused = true)]
async fn who_stood_still_does_not_believe_that_it_leads() {
    let (server, a, b) = two().await;
    // Its tasks do not run, the clock does.
    a.task.abort();
    let known = *a.leader.borrow();
    assert!(known.leads());
    tokio::time::advance(11 * SECOND).await;
    assert!(!known.leads() && !a.leads());
    drop((server, b));
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_taken_away_ends_leadership() {
    let (server, a, b) = two().await;
    let mut lease = server.lease.lock().clone().expect("a Lease");
    lease.spec = Some(spec(Some("thief"), Some(15), Timestamp::MIN));
    server.put(lease);
    pass(&[&a, &b], 3 * SECOND, || !a.leads()).await;
    pass(&[&a, &b], 20 * SECOND, || a.leads() || b.leads()).await;
}

fn spec(holder: Option<&str>, duration: Option<i32>, renewed: Timestamp) -> LeaseSpec {
    LeaseSpec {
        holder_identity: holder.map(str::to_owned),
        lease_duration_seconds: duration,
        renew_time: Some(MicroTime(renewed)),
        ..LeaseSpec::default()
    }
}

#[rstest]
#[case::an_old_clock(Some(15), Timestamp::MIN, 15)]
#[case::a_clock_ahead(Some(15), Timestamp::MAX, 15)]
#[case::a_forged_long_duration(Some(i32::MAX), Timestamp::UNIX_EPOCH, 60)]
#[case::a_forged_short_duration(Some(1), Timestamp::UNIX_EPOCH, 15)]
#[case::a_negative_duration(Some(-1), Timestamp::UNIX_EPOCH, 15)]
#[case::no_duration(None, Timestamp::UNIX_EPOCH, 15)]
#[tokio::test(start_paused = true)]
async fn only_our_own_clock_says_that_a_record_expired(
    #[case] duration: Option<i32>,
    #[case] renewed: Timestamp,
    #[case] seconds: u32,
) {
    let record = Record::read(&spec(Some("other"), duration, renewed), "us");
    let mut election = Election::default();
    let start = Instant::now();
    let mut look = |at| election.observe(Some(record.clone()), start + at);
    assert_eq!(look(Duration::ZERO), Action::Wait);
    let end = SECOND * seconds;
    let before = end.checked_sub(Duration::from_millis(1)).expect("a time");
    assert_eq!(look(before), Action::Wait);
    assert_eq!(look(end), Action::Write);
    // Each renewal counts from when it was seen.
    let renewed = Record::read(&spec(Some("other"), duration, Timestamp::now()), "us");
    assert_eq!(election.observe(Some(renewed), start + end), Action::Wait);
}

#[test]
fn what_others_write_is_made_harmless() {
    let name = format!("\u{1b}[31m{}", "x".repeat(1000));
    let mut wild = spec(Some(&name), Some(15), Timestamp::MIN);
    wild.lease_transitions = Some(i32::MIN);
    let record = Record::read(&wild, "us");
    let Holder::Other(shown) = &record.holder else {
        panic!("{:?}", record.holder);
    };
    assert!(
        shown.chars().count() <= 129 && !shown.contains('\u{1b}'),
        "{shown}"
    );
    assert_eq!(record.transitions, 0);
    let most = Record {
        transitions: i32::MAX,
        ..record
    };
    assert_eq!(
        record::held("us", Some(&most)).lease_transitions,
        Some(i32::MAX)
    );
    assert_eq!(most.duration, LEASE_DURATION);
}
