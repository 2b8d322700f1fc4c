//! Endpoints that are asked to end, and those that nobody lists any more.

use super::*;

/// What was in no slice for so long is gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// That, and two looks.
const LATEST: Duration = Duration::from_millis(10_600);

#[tokio::test(start_paused = true)]
async fn the_tunnels_of_a_terminating_endpoint_end_within_its_grace() {
    let mut site = Site::new(&[rule("a.test", "/")]).await;
    let mut kits = Vec::new();
    for _ in 0..40 {
        kits.push(site.open("a.test", "/").await);
    }
    site.endpoints(&[(1, true), (2, false)]);
    let start = site.changed;
    let ends = kits.into_iter().map(|kit| site.end(kit));
    let ends = futures_util::future::join_all(ends);
    // Endpoints that come and go meanwhile are no reason to throw the dice again.
    let churn = async {
        for number in (3..60).cycle() {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let endpoint = ir::Endpoint {
                address: ([10, 0, 0, 1], 80).into(),
                ready: false,
                serving: true,
                terminating: number % 2 == 0,
            };
            let backend = ir::Backend {
                endpoints: vec![endpoint],
            };
            site.backends.set([(&backend_id(), &backend)]);
        }
    };
    let mut ends = tokio::select! {
        ends = ends => ends,
        () = churn => return,
    };
    ends.sort_by_key(|end| end.2);
    for (cause, code, _) in &ends {
        assert_eq!((*cause, *code), (Cause::BackendTerminating, Some(1012)));
    }
    let mut bins = [0; 21];
    for (.., after) in &ends {
        bins[usize::try_from(after.as_secs()).unwrap()] += 1;
    }
    assert!(bins.iter().all(|&bin| bin <= 3), "{bins:?}");
    assert!(start.elapsed().as_secs() < 30, "backendGrace, not window");
}

#[tokio::test(start_paused = true)]
async fn a_terminating_endpoint_that_is_to_keep_or_close_its_tunnels() {
    for (reaction, code) in [(Reaction::Keep, None), (Reaction::Close, Some(4000))] {
        let rule = rule("a.test", "/").policy(|policy| {
            policy.drain.on_backend_terminating = Setting::field(reaction);
            policy.drain.code = Setting::field(4000);
        });
        let mut site = Site::new(&[rule]).await;
        let kit = site.open("a.test", "/").await;
        site.endpoints(&[(1, true)]);
        if code.is_some() {
            let (cause, got, after) = site.end(kit).await;
            assert_eq!((cause, got), (Cause::BackendTerminating, code));
            assert!(after < Duration::from_millis(500), "{after:?}");
        } else {
            site.stays(&[kit]).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_is_removed_when_it_was_in_no_slice_for_ten_seconds() {
    let mut site = Site::new(&[rule("a.test", "/")]).await;
    let kit = site.open("a.test", "/").await;
    site.endpoints(&[(2, false)]);
    let (cause, code, after) = site.end(kit).await;
    assert_eq!((cause, code), (Cause::BackendRemoved, Some(1012)));
    assert!((PATIENCE..LATEST).contains(&after), "at once: {after:?}");
}

#[tokio::test(start_paused = true)]
async fn tables_that_change_all_the_time_hide_no_endpoint_that_is_gone() {
    let fast = rule("a.test", "/").policy(|policy| {
        policy.drain.window = Setting::field(Duration::ZERO);
    });
    let mut site = Site::new(std::slice::from_ref(&fast)).await;
    let kit = site.open("a.test", "/").await;
    site.endpoints(&[(2, false)]);
    let churn = async {
        for number in 0.. {
            tokio::time::sleep(Duration::from_millis(70)).await;
            // As in a cluster: what is not about a host leaves it as it is.
            let other = rule("b.test", &format!("/{number}"));
            let candidates = vec![other.candidate(other.path.clone().unwrap())];
            let routes = ir::HostRoutes {
                candidates,
                default: None,
            };
            let mut delta = ir::Delta::default();
            delta.hosts.insert(other.host, Some(Arc::new(routes)));
            let table = site.live.load_full();
            let table = table.change(&delta, |id| site.backends.backend(id));
            assert!(site.live.publish(table));
        }
    };
    let end = async { kit.outcome.await.unwrap().cause };
    tokio::select! {
        cause = end => assert_eq!(cause, Cause::BackendRemoved),
        () = churn => {}
        () = sleep_until(site.changed + Duration::from_secs(20)) => panic!("it was forgotten"),
    }
    assert!(site.live.load().generation() > 100, "they changed");
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_moves_to_another_slice_keeps_its_tunnels() {
    let mut site = Site::new(&[rule("a.test", "/")]).await;
    let kits = [site.open("a.test", "/").await];
    site.endpoints(&[]);
    tokio::time::sleep(Duration::from_millis(9_500)).await;
    site.endpoints(&[(1, false)]);
    site.stays(&kits).await;
    // Twice is not longer.
    site.endpoints(&[(2, false)]);
    tokio::time::sleep(Duration::from_secs(6)).await;
    site.endpoints(&[(1, false), (2, false)]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    site.endpoints(&[(2, false)]);
    tokio::time::sleep(Duration::from_secs(6)).await;
    site.endpoints(&[(1, false)]);
    site.stays(&kits).await;
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_of_a_backend_that_nobody_follows_is_not_removed() {
    let mut site = Site::new(&[rule("a.test", "/")]).await;
    let kits = [site.open("a.test", "/").await];
    site.backends.release([&backend_id()], |_| true);
    site.stays(&kits).await;
    // It is followed again, and is not there.
    site.endpoints(&[(2, false)]);
    let [kit] = kits;
    let (cause, _, after) = site.end(kit).await;
    assert_eq!(cause, Cause::BackendRemoved);
    assert!(after >= PATIENCE, "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn the_endpoints_of_a_deleted_service_are_removed_after_ten_seconds() {
    let mut site = Site::new(&[rule("a.test", "/")]).await;
    let kits = [site.open("a.test", "/").await];
    let delete = |site: &mut Site| {
        site.backends.release([&backend_id()], |_| false);
        site.changed = Instant::now();
    };
    delete(&mut site);
    tokio::time::sleep(Duration::from_secs(9)).await;
    // It is made anew.
    site.endpoints(&[(1, false)]);
    site.stays(&kits).await;
    delete(&mut site);
    let [kit] = kits;
    let (cause, _, after) = site.end(kit).await;
    assert_eq!(cause, Cause::BackendRemoved);
    assert!(after >= PATIENCE, "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_that_opens_to_a_leaving_endpoint_is_looked_at() {
    let mut site = Site::new(&[rule("a.test", "/")]).await;
    site.endpoints(&[(1, true)]);
    tokio::time::sleep(Duration::from_mins(1)).await;
    let kit = site.open("a.test", "/").await;
    assert_eq!(site.end(kit).await.0, Cause::BackendTerminating);
}

#[tokio::test(start_paused = true)]
async fn who_is_gone_for_good_does_not_wait_for_its_drain() {
    let slow = rule("a.test", "/").policy(|policy| {
        policy.drain.window = Setting::field(Duration::from_hours(1));
        policy.drain.backend_grace = Setting::field(Duration::from_hours(1));
    });
    let mut site = Site::new(&[slow]).await;
    let kit = site.open("a.test", "/").await;
    site.endpoints(&[(1, true)]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    site.endpoints(&[]);
    let (cause, _, after) = site.end(kit).await;
    // One in some hundred throws of the dice is earlier than this.
    if cause != Cause::BackendTerminating {
        assert_eq!(cause, Cause::BackendRemoved);
        assert!((PATIENCE..LATEST).contains(&after), "{after:?}");
    }
}
