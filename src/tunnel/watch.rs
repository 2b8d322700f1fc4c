//! Tunnels whose route or endpoint is gone: who follows the table and the endpoints, and decides what that means.
//!
//! ```text
//!   table      no rule has the host and path for 10 s ─► drain.onRouteRemoved
//!              it has, but must not be tunnelled      ─► the same at once, and never Keep
//!   endpoint   terminating                            ─► drain.onBackendTerminating
//!              in no slice for 10 s                   ─► drain.onBackendRemoved
//! ```
//! It looks when something has changed, at most four times a second, and not at all while nothing does.

use std::{sync::Arc, sync::atomic::Ordering::SeqCst, time::Duration};

use hashbrown::HashMap;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{
    Registry,
    outcome::Cause,
    registry::Entry,
    way::{Handshake, Way},
};
use crate::{
    ir::{ObjectId, Reaction, UpgradeMode},
    table,
    upstream::{self, Standing},
};

/// A match that no rule has, or an endpoint that no slice has, for so long is gone. Routes are deleted and created
/// again, slices hand endpoints on, Services are re-created: that takes a moment.
const PATIENCE: Duration = Duration::from_secs(10);

/// Between two looks: a hundred changes a second cost four.
const PAUSE: Duration = Duration::from_millis(250);

type Table = table::Table<Arc<upstream::Backend>>;

/// Says of an object that is served no more whether it still exists and was given to another controller.
pub type GivenAway = Box<dyn Fn(&ObjectId) -> bool + Send + Sync>;

/// Follows the table and the endpoints for all tunnels.
pub struct Watch {
    tunnels: Arc<Registry>,
    live: Arc<table::Handle<Arc<upstream::Backend>>>,
    backends: Arc<upstream::Registry>,
    given_away: GivenAway,
    /// As of the last look.
    table: Arc<Table>,
    looked: Instant,
    /// Ways of live tunnels that no rule has.
    missing: HashMap<Arc<Way>, Missing>,
    /// Endpoints of live tunnels that no slice has, by key and departure, and since when.
    gone: HashMap<(u64, u32), Instant>,
}

/// Why it looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum News {
    Table,
    Endpoints,
    /// A tunnel opened that was on its way while something changed.
    Late,
    /// Somebody has been gone for long enough.
    Due,
}

/// A way that no rule has.
#[derive(Debug, Clone)]
struct Missing {
    since: Instant,
    /// Whose it was: whoever opened the tunnels, or adopted them since. Nobody's, where no look has seen it.
    last: Vec<ObjectId>,
}

/// What there is to know about a way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Finding {
    /// Rules of its hosts have changed.
    Changed,
    /// No rule has it.
    Missing,
    /// And that for long enough.
    Removed,
}

/// Orders to be given, each with the window over which they are spread.
type Orders = Vec<(Arc<Entry>, Cause, Duration)>;

impl Watch {
    /// A watch that has seen nothing yet.
    pub fn new(
        tunnels: Arc<Registry>,
        live: Arc<table::Handle<Arc<upstream::Backend>>>,
        backends: Arc<upstream::Registry>,
        given_away: GivenAway,
    ) -> Self {
        Self {
            tunnels,
            live,
            backends,
            given_away,
            table: Arc::new(Table::empty()),
            looked: Instant::now(),
            missing: HashMap::new(),
            gone: HashMap::new(),
        }
    }

    /// Follows until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            let due = async {
                match self.due() {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            let news = tokio::select! {
                () = stop.cancelled() => return,
                () = self.live.wait_for(self.table.generation() + 1) => News::Table,
                () = self.backends.leaving() => News::Endpoints,
                () = self.tunnels.late() => News::Late,
                () = due => News::Due,
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep_until(self.looked + PAUSE) => {}
            }
            self.look(news);
        }
    }

    /// When somebody will have been gone for long enough.
    fn due(&self) -> Option<Instant> {
        let missing = self.missing.values().map(|missing| missing.since);
        let all = missing.chain(self.gone.values().copied());
        let due = all.map(|since| since + PATIENCE);
        due.filter(|due| *due > self.looked).min()
    }

    fn look(&mut self, news: News) {
        let before = std::mem::replace(&mut self.looked, Instant::now());
        let table = self.live.load_full();
        // Who opens with an older table from here on says so; those before are looked at below.
        self.tunnels.seen.store(table.generation(), SeqCst);
        let findings = self.findings(&table, news);
        // What became due since the last look wakes nobody any more, so it is seen to now, whatever the news are.
        let due = |since: &Instant| (before..=self.looked).contains(&(*since + PATIENCE));
        if news != News::Table || !findings.is_empty() || self.gone.values().any(due) {
            let orders = self.orders(&table, &findings);
            self.tunnels.order(orders);
        }
        self.table = table;
    }

    /// What is to be known about the ways of all tunnels. None is named of which there is nothing to know.
    fn findings(&mut self, table: &Table, news: News) -> HashMap<*const Way, Finding> {
        let changed = table.generation() != self.table.generation();
        let mut findings = HashMap::new();
        let mut missing = HashMap::new();
        for way in self.tunnels.ways() {
            let known = self.missing.get(&way).cloned();
            if known.is_none() && !changed && news != News::Late {
                continue;
            }
            let finding = if way.routes(table).next().is_some() {
                let host = way.only_host();
                if !changed || host.is_some_and(|host| table.shares(&self.table, host)) {
                    continue;
                }
                Finding::Changed
            } else {
                let now = known.unwrap_or_else(|| Missing {
                    since: self.looked,
                    last: way
                        .routes(&self.table)
                        .map(|route| route.rule.id.object.clone())
                        .collect(),
                });
                let is_over = now.since + PATIENCE <= self.looked;
                missing.insert(Arc::clone(&way), now);
                if is_over {
                    Finding::Removed
                } else {
                    Finding::Missing
                }
            };
            findings.insert(Arc::as_ptr(&way), finding);
        }
        self.missing = missing;
        findings
    }

    /// Goes through all tunnels.
    fn orders(&mut self, table: &Table, findings: &HashMap<*const Way, Finding>) -> Orders {
        let mut orders = Orders::new();
        let mut gone = HashMap::new();
        let mut given_away = HashMap::new();
        for entry in self.tunnels.entries() {
            let drain = &entry.route.rule.policy.drain;
            let window = drain.window.value;
            match entry.endpoint.standing() {
                Standing::There => {}
                Standing::Terminating => {
                    let window = window.min(drain.backend_grace.value);
                    let reaction = drain.on_backend_terminating.value;
                    react(
                        &entry,
                        Cause::BackendTerminating,
                        reaction,
                        window,
                        &mut orders,
                    );
                }
                Standing::Gone(departure) => {
                    let key = (entry.endpoint.key(), departure);
                    let since = self.gone.get(&key).copied().unwrap_or(self.looked);
                    gone.insert(key, since);
                    if since + PATIENCE <= self.looked {
                        let reaction = drain.on_backend_removed.value;
                        react(&entry, Cause::BackendRemoved, reaction, window, &mut orders);
                    }
                }
            }
            let late = entry.was_late();
            let reaction = drain.on_route_removed.value;
            let revoked = match findings.get(&Arc::as_ptr(&entry.way)) {
                Some(Finding::Removed) => {
                    react(&entry, Cause::RouteRemoved, reaction, window, &mut orders);
                    false
                }
                Some(Finding::Missing) => {
                    let last = self.missing.get(&entry.way).map(|missing| &*missing.last);
                    let own = std::slice::from_ref(&entry.route.rule.id.object);
                    let last = last.filter(|last| !last.is_empty()).unwrap_or(own);
                    last.iter().any(|object| {
                        let ask = || (self.given_away)(object);
                        *given_away.entry(object.clone()).or_insert_with(ask)
                    })
                }
                Some(Finding::Changed) => self.is_refused(table, &entry, late),
                None => late && self.is_refused(table, &entry, late),
            };
            if revoked {
                // What must not be is not kept.
                let reaction = match reaction {
                    Reaction::Keep => Reaction::Drain,
                    other => other,
                };
                react(&entry, Cause::RouteRemoved, reaction, window, &mut orders);
            }
        }
        self.gone = gone;
        orders
    }

    /// Whether the rule that would now take its handshake takes none. What other namespaces say ends nobody.
    fn is_refused(&self, table: &Table, entry: &Entry, late: bool) -> bool {
        let info = entry.info();
        if !late && table.shares(&self.table, &info.host) {
            return false;
        }
        let handshake = Handshake::new(&entry.way, &info.host, &info.path);
        table.find(&handshake).is_some_and(|hit| {
            let rule = &hit.route.rule;
            let mode = rule.policy.upgrade.mode.value;
            rule.id.object.namespace == entry.route.rule.id.object.namespace
                && matches!(mode, UpgradeMode::Deny | UpgradeMode::Ignore)
        })
    }
}

/// Once for each tunnel and cause: a second time would be another throw of the dice, and bring its end forward.
fn react(
    entry: &Arc<Entry>,
    cause: Cause,
    reaction: Reaction,
    window: Duration,
    orders: &mut Orders,
) {
    let window = match reaction {
        Reaction::Keep => return,
        Reaction::Drain => window,
        Reaction::Close => Duration::ZERO,
    };
    if entry.note(cause) {
        orders.push((Arc::clone(entry), cause, window));
    }
}
