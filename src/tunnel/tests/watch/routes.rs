//! Removal, adoption and revocation.

use super::*;

/// What was missing for so long is gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// That, the window, and a look.
const LATEST: Duration = Duration::from_millis(70_500);

/// One look.
const AT_ONCE: Duration = Duration::from_millis(500);

#[tokio::test(start_paused = true)]
async fn a_route_is_removed_when_it_was_missing_for_ten_seconds() {
    let mut site = Site::new(&[rule("a.test", "/ws")]).await;
    let mut kits = Vec::new();
    for _ in 0..60 {
        kits.push(site.open("a.test", "/ws/1").await);
    }
    site.serve(&[]);
    let ends = kits.into_iter().map(|kit| site.end(kit));
    let mut ends = futures_util::future::join_all(ends).await;
    ends.sort_by_key(|end| end.2);
    for (cause, code, after) in &ends {
        assert_eq!((*cause, *code), (Cause::RouteRemoved, Some(1012)));
        assert!((PATIENCE..LATEST).contains(after), "{after:?}");
    }
    let (first, last) = (ends[0].2.as_secs(), ends[59].2.as_secs());
    assert!(
        first < 12 && last >= 68,
        "over the window: {first} to {last}"
    );
}

#[tokio::test(start_paused = true)]
async fn who_comes_back_in_time_cuts_nothing() {
    let mut site = Site::new(&[rule("a.test", "/ws")]).await;
    let kits = [site.open("a.test", "/ws").await];
    for next in [
        rule("a.test", "/ws"),
        rule("a.test", "/ws").of("shop", "another"),
        rule("a.test", "/ws").header("x-tenant", "a"),
    ] {
        site.serve(&[]);
        tokio::time::sleep(Duration::from_millis(9_500)).await;
        site.serve(&[next, rule("b.test", "/")]);
        site.stays(&kits).await;
    }
    // Whoever has the same match from the start takes the tunnels over.
    site.serve(&[rule("a.test", "/ws").of("shop", "third")]);
    site.stays(&kits).await;
}

#[tokio::test(start_paused = true)]
async fn another_match_or_namespace_adopts_nothing() {
    for other in [
        rule("a.test", "/ws").path(Some(ir::PathMatch::Exact("/ws".into()))),
        rule("a.test", "/"),
        rule("*.test", "/ws"),
        rule("a.test", "/ws").of("other", "chat"),
        rule("a.test", "/ws").path(None),
    ] {
        let mut site = Site::new(&[rule("a.test", "/ws")]).await;
        let kit = site.open("a.test", "/ws").await;
        site.serve(&[other]);
        let (cause, _, after) = site.end(kit).await;
        assert_eq!(cause, Cause::RouteRemoved);
        assert!((PATIENCE..LATEST).contains(&after), "{after:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_changed_route_keeps_its_tunnels_and_their_policy() {
    let close = |rule: Rule| {
        rule.policy(|policy| policy.drain.on_route_removed = Setting::field(Reaction::Close))
    };
    let mut site = Site::new(&[close(rule("a.test", "/ws"))]).await;
    let old = [site.open("a.test", "/ws").await];
    let keep = rule("a.test", "/ws").policy(|policy| {
        policy.drain.on_route_removed = Setting::field(Reaction::Keep);
        policy.upgrade.strict = Setting::field(true);
    });
    site.serve(std::slice::from_ref(&keep));
    site.stays(&old).await;
    let new = [site.open("a.test", "/ws").await];
    site.serve(&[]);
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(site.registry.len(), 1, "the old one was closed at once");
    site.stays(&new).await;
    let [old] = old;
    assert_eq!(site.end(old).await.0, Cause::RouteRemoved);
}

#[tokio::test(start_paused = true)]
async fn a_route_that_takes_no_handshake_any_more_is_revoked_at_once() {
    for mode in [UpgradeMode::Deny, UpgradeMode::Ignore] {
        let keep = rule("a.test", "/ws").policy(|policy| {
            policy.drain.window = Setting::field(Duration::from_secs(2));
            policy.drain.on_route_removed = Setting::field(Reaction::Keep);
        });
        let mut site = Site::new(std::slice::from_ref(&keep)).await;
        let kit = site.open("a.test", "/ws").await;
        site.serve(&[keep.mode(mode)]);
        let (cause, code, after) = site.end(kit).await;
        assert_eq!((cause, code), (Cause::RouteRemoved, Some(1012)));
        assert!(after < Duration::from_millis(2_500), "{after:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_rule_that_comes_first_revokes_what_it_takes() {
    let fast = |policy: &mut ir::Policy| {
        policy.drain.window = Setting::field(Duration::ZERO);
    };
    let ws = rule("*.test", "/ws").policy(fast);
    let mut site = Site::new(std::slice::from_ref(&ws)).await;
    let (one, two) = (
        site.open("a.test", "/ws/1").await,
        site.open("a.test", "/ws/2").await,
    );
    let other = site.open("b.test", "/ws/1").await;
    let deny = |rule: Rule| rule.mode(UpgradeMode::Deny);
    // A longer path.
    site.serve(&[ws.clone(), deny(rule("*.test", "/ws/1"))]);
    assert!(site.end(one).await.2 < AT_ONCE);
    assert!(site.end(other).await.2 < PATIENCE);
    assert_eq!(site.registry.len(), 1);
    // A more specific host, too, but not of another namespace: that is somebody else.
    let kits = [two];
    site.serve(&[ws.clone(), deny(rule("a.test", "/").of("other", "chat"))]);
    site.stays(&kits).await;
    let [two] = kits;
    site.serve(&[ws.clone(), deny(rule("a.test", "/").of("shop", "another"))]);
    assert!(site.end(two).await.2 < AT_ONCE);
    // But as long as the match is missing it is a removal.
    let kit = site.open("b.test", "/ws").await;
    site.serve(&[deny(rule("*.test", "/"))]);
    let (cause, _, after) = site.end(kit).await;
    assert_eq!(cause, Cause::RouteRemoved);
    assert!(after >= PATIENCE, "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn conditions_that_held_are_known_and_others_are_not() {
    let fast = |policy: &mut ir::Policy| {
        policy.drain.window = Setting::field(Duration::ZERO);
    };
    let tenant = rule("a.test", "/ws").header("x-tenant", "a").policy(fast);
    let version = rule("a.test", "/ws").query("v", "2 &").policy(fast);
    let mut site = Site::new(&[tenant.clone(), version.clone()]).await;
    let asked = |headers, query| Asked {
        host: "a.test",
        path: "/ws",
        query,
        headers,
    };
    let by_header = site.open_as(&asked(&[("x-tenant", "a")], None)).await;
    let by_query = site.open_as(&asked(&[], Some("u=1&v=2+%26"))).await;
    let deny = |rule: &Rule| rule.clone().mode(UpgradeMode::Deny);
    // Whether they had this one, nobody knows.
    let unknown = rule("a.test", "/ws").header("x-tenant", "b");
    site.serve(&[tenant.clone(), version.clone(), deny(&unknown)]);
    let kits = [by_header, by_query];
    site.stays(&kits).await;
    let [by_header, by_query] = kits;
    site.serve(&[deny(&tenant), version.clone()]);
    assert!(site.end(by_header).await.2 < AT_ONCE);
    let kits = [by_query];
    site.stays(&kits).await;
    let [by_query] = kits;
    site.serve(&[tenant, deny(&version)]);
    assert!(site.end(by_query).await.2 < AT_ONCE);
}

#[tokio::test(start_paused = true)]
async fn an_object_that_was_given_away_does_not_wait() {
    let fast = |policy: &mut ir::Policy| {
        policy.drain.window = Setting::field(Duration::from_secs(1));
    };
    let mut site = Site::new(&[rule("a.test", "/ws").policy(fast)]).await;
    let kit = site.open("a.test", "/ws").await;
    site.given_away.lock().insert(object("shop", "chat"));
    site.serve(&[]);
    let (cause, _, after) = site.end(kit).await;
    assert_eq!(cause, Cause::RouteRemoved);
    assert!(after < Duration::from_millis(1_500), "{after:?}");
}

/// Whoever adopted the tunnels is who may give them away, and nobody else any more.
#[tokio::test(start_paused = true)]
async fn an_adopted_route_is_given_away_by_its_new_object() {
    let fast = |policy: &mut ir::Policy| {
        policy.drain.window = Setting::field(Duration::from_secs(1));
        policy.drain.on_route_removed = Setting::field(Reaction::Keep);
    };
    let first = rule("a.test", "/ws").policy(fast);
    let second = first.clone().of("shop", "other");
    let mut site = Site::new(&[first.clone(), second.clone()]).await;
    let kits = [site.open("a.test", "/ws").await];
    // The first one goes to another controller, the second is replaced by force.
    site.given_away.lock().insert(object("shop", "chat"));
    site.serve(std::slice::from_ref(&second));
    site.stays(&kits).await;
    site.serve(&[]);
    site.seen().await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    site.serve(std::slice::from_ref(&second));
    site.stays(&kits).await;
    // The second one goes there, too.
    site.given_away.lock().insert(object("shop", "other"));
    site.given_away.lock().remove(&object("shop", "chat"));
    site.serve(&[]);
    let [kit] = kits;
    let (cause, _, after) = site.end(kit).await;
    assert_eq!(cause, Cause::RouteRemoved);
    assert!(after < Duration::from_millis(1_500), "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn a_default_backend_is_followed_like_a_rule() {
    let default = rule("a.test", "/").path(None);
    let mut site = Site::new(&[rule("a.test", "/x"), default.clone()]).await;
    let kits = [site.open("a.test", "/ws").await];
    site.serve(&[rule("a.test", "/y"), default.of("shop", "another")]);
    site.stays(&kits).await;
    site.serve(&[rule("a.test", "/y")]);
    let [kit] = kits;
    assert_eq!(site.end(kit).await.0, Cause::RouteRemoved);
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_was_on_its_way_is_looked_at() {
    let fast = |policy: &mut ir::Policy| {
        policy.drain.window = Setting::field(Duration::ZERO);
    };
    let ws = rule("a.test", "/ws").policy(fast);
    let mut site = Site::new(std::slice::from_ref(&ws)).await;
    let old = site.live.load_full();
    let asked = Asked {
        host: "a.test",
        path: "/ws",
        query: None,
        headers: &[],
    };
    site.serve(&[ws.clone().mode(UpgradeMode::Deny)]);
    site.seen().await;
    let kit = site.open_with(&old, &asked).await;
    let (cause, _, after) = site.end(kit).await;
    assert_eq!(cause, Cause::RouteRemoved);
    assert!(after < 2 * AT_ONCE, "{after:?}");
    // The same for one whose route is missing.
    site.serve(&[]);
    site.seen().await;
    tokio::time::sleep(Duration::from_mins(1)).await;
    let opened = Instant::now();
    let kit = site.open_with(&old, &asked).await;
    assert_eq!(site.end(kit).await.0, Cause::RouteRemoved);
    assert!(opened.elapsed().as_secs() >= 10);
}
