//! What Hawser has no right to list, and when that counts as listed and empty.
//!
//! A table that lacks what nobody could read would answer 404 and 500 in place of routes. So a missing right counts as
//! "there is nothing" only where the rest says that it is meant: for `IngressClass`, and for a namespace that is closed
//! altogether while another one is read completely.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

use super::kind::Kind;

/// A refusal counts only when it has lasted so long: an API server that has just started knows no roles and refuses
/// everything for a moment.
pub(super) const LASTING: Duration = Duration::from_secs(10);

/// The watches of a source by their numbers.
pub(super) struct Rights(Mutex<Vec<Watched>>);

struct Watched {
    kind: Kind,
    namespace: Option<String>,
    /// Wakes it.
    retry: Arc<Notify>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Not listed yet, or the last answer says nothing about rights.
    Unknown,
    Listed,
    /// Refused since then, by each answer.
    Forbidden(Instant),
}

/// What a refusal means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It may be over in a moment.
    Open,
    /// It counts as listed and empty.
    Empty,
    /// Somebody must grant the right.
    Missing,
}

impl Rights {
    /// `watches`: kind, namespace and what wakes each.
    pub(super) fn new(watches: impl Iterator<Item = (Kind, Option<String>, Arc<Notify>)>) -> Self {
        let watches = watches.map(|(kind, namespace, retry)| Watched {
            kind,
            namespace,
            retry,
            state: State::Unknown,
        });
        Self(Mutex::new(watches.collect()))
    }

    /// The list of this watch is complete.
    pub(super) fn listed(&self, watch: usize) {
        let mut watches = self.0.lock();
        let Some(it) = watches.get_mut(watch) else {
            return;
        };
        let before = std::mem::replace(&mut it.state, State::Listed);
        if !matches!(before, State::Forbidden(_)) {
            return;
        }
        // Rights of a namespace come together: routes must not wait long for their Services.
        let namespace = it.namespace.clone();
        for other in watches.iter() {
            if other.namespace == namespace && matches!(other.state, State::Forbidden(_)) {
                other.retry.notify_one();
            }
        }
    }

    /// The API server did not say whether there is a right.
    pub(super) fn unknown(&self, watch: usize) {
        if let Some(it) = self.0.lock().get_mut(watch)
            && matches!(it.state, State::Forbidden(_))
        {
            it.state = State::Unknown;
        }
    }

    /// The API server refused this watch.
    pub(super) fn forbidden(&self, watch: usize, now: Instant) -> Standing {
        let mut watches = self.0.lock();
        let Some(it) = watches.get_mut(watch) else {
            return Standing::Missing;
        };
        if !matches!(it.state, State::Forbidden(_)) {
            it.state = State::Forbidden(now);
        }
        let lasts = lasts(it, now);
        match (it.kind, it.namespace.clone()) {
            (Kind::IngressClass, _) if lasts => Standing::Empty,
            (Kind::IngressClass, _) => Standing::Open,
            (_, None) => Standing::Missing,
            (_, Some(_)) if !lasts => Standing::Open,
            (_, Some(namespace)) => closed(&watches, &namespace, now),
        }
    }
}

fn lasts(watched: &Watched, now: Instant) -> bool {
    matches!(watched.state, State::Forbidden(since) if now >= since + LASTING)
}

fn of<'a>(watches: &'a [Watched], namespace: &'a str) -> impl Iterator<Item = &'a Watched> {
    let watches = watches.iter();
    watches.filter(move |it| it.namespace.as_deref() == Some(namespace))
}

/// What a namespace is that refuses at least one kind.
fn closed(watches: &[Watched], namespace: &str, now: Instant) -> Standing {
    if !of(watches, namespace).all(|it| matches!(it.state, State::Forbidden(_))) {
        return Standing::Missing;
    }
    let mut others = watches.iter().filter_map(|it| it.namespace.as_deref());
    let is_read = |other| {
        let mut all = of(watches, other);
        // One that is looked at for the other replicas alone has no routes, and says nothing about who has rights.
        of(watches, other).any(|it| it.kind.is_route()) && all.all(|it| it.state == State::Listed)
    };
    if !others.any(|other| other != namespace && is_read(other)) {
        Standing::Missing
    } else if of(watches, namespace).all(|it| lasts(it, now)) {
        Standing::Empty
    } else {
        Standing::Open
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [Kind; 2] = [Kind::Ingress, Kind::Service];

    /// Of namespaces by name, each with the kinds above; the last watch is that of `IngressClass`.
    fn rights(namespaces: &[&str]) -> Rights {
        let pairs = namespaces
            .iter()
            .flat_map(|name| KINDS.map(|kind| (kind, Some((*name).to_owned()))));
        let all = pairs.chain([(Kind::IngressClass, None)]);
        Rights::new(all.map(|(kind, namespace)| (kind, namespace, Arc::default())))
    }

    #[tokio::test(start_paused = true)]
    async fn a_class_counts_as_absent_when_the_refusal_lasts() {
        let rights = rights(&[]);
        let start = Instant::now();
        assert_eq!(rights.forbidden(0, start), Standing::Open);
        let almost = start + LASTING - Duration::from_secs(1);
        assert_eq!(rights.forbidden(0, almost), Standing::Open);
        // An answer of another kind, or a list, and it begins anew.
        rights.unknown(0);
        let later = start + LASTING;
        assert_eq!(rights.forbidden(0, later), Standing::Open);
        assert_eq!(rights.forbidden(0, later + LASTING), Standing::Empty);
        rights.listed(0);
        assert_eq!(rights.forbidden(0, later + LASTING), Standing::Open);
    }

    #[tokio::test(start_paused = true)]
    async fn a_closed_namespace_is_empty_beside_one_that_is_read() {
        let rights = rights(&["open", "closed"]);
        let start = Instant::now();
        let all = |now| [2, 3].map(|watch| rights.forbidden(watch, now));
        assert_eq!(all(start), [Standing::Open; 2]);
        let later = start + LASTING;
        assert_eq!(all(later), [Standing::Missing; 2], "nothing is read");
        rights.listed(0);
        assert_eq!(all(later), [Standing::Missing; 2], "not everything of it");
        rights.listed(1);
        assert_eq!(all(later), [Standing::Empty; 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn one_kind_that_is_missing_is_no_empty_namespace() {
        let rights = rights(&["open", "half"]);
        for listed in [0, 1, 2] {
            rights.listed(listed);
        }
        let start = Instant::now();
        assert_eq!(rights.forbidden(3, start), Standing::Open);
        let later = start + 100 * LASTING;
        assert_eq!(rights.forbidden(3, later), Standing::Missing);
    }

    #[tokio::test(start_paused = true)]
    async fn a_namespace_alone_is_never_empty() {
        let rights = rights(&["only"]);
        let start = Instant::now();
        for now in [start, start + 100 * LASTING] {
            rights.forbidden(0, now);
            let standing = rights.forbidden(1, now);
            assert_ne!(standing, Standing::Empty);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn where_only_the_other_replicas_are_nothing_is_read() {
        let watches = [
            (Kind::Ingress, "closed"),
            (Kind::Service, "closed"),
            (Kind::EndpointSlice, "home"),
        ];
        let watches = watches.map(|(kind, name)| (kind, Some(name.to_owned()), Arc::default()));
        let rights = Rights::new(watches.into_iter());
        rights.listed(2);
        let start = Instant::now();
        for now in [start, start + LASTING] {
            rights.forbidden(0, now);
            assert_ne!(rights.forbidden(1, now), Standing::Empty);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn rights_of_a_namespace_are_looked_for_together() {
        let rights = rights(&["open", "closed"]);
        let now = Instant::now();
        for watch in [2, 3] {
            rights.forbidden(watch, now);
        }
        let wakes = Arc::clone(&rights.0.lock()[3].retry);
        rights.listed(2);
        wakes.notified().await;
    }
}
