//! A few objects that one task needs, typed: listed, then watched, and listed anew when the watch ends, once a minute at
//! least. kube's own watcher goes on from the version where it stood, which an etcd that was restored may not have yet:
//! the API server then says nothing until it does.

use std::{fmt::Debug, pin::Pin};

use futures_util::{Stream, StreamExt as _};
use kube::{
    Api,
    api::{ListParams, WatchEvent, WatchParams},
};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tracing::debug;

use super::{
    failure::Failure,
    watch::{ANSWER, SLACK, SUCCESS, WATCH, wait},
};

/// What happened.
#[derive(Debug)]
pub(in crate::source) enum Event<K> {
    /// These are all there are.
    Listed(Vec<K>),
    /// An object is new or changed.
    Set(K),
    /// An object was deleted.
    Deleted(K),
}

type Events<K> = Pin<Box<dyn Stream<Item = kube::Result<WatchEvent<K>>> + Send>>;

/// Objects that are followed.
pub(in crate::source) struct Follow<K> {
    api: Api<K>,
    which: ListParams,
    at: At<K>,
    /// Failures in a row.
    failures: u32,
}

/// Where it stands.
enum At<K> {
    /// Nothing is known.
    Start,
    /// Listed, with this version.
    Listed(String),
    /// Since then a watch is open.
    Open(Instant, Events<K>),
    /// Begins anew then.
    Waiting(Instant),
}

impl<K: Clone + Debug + DeserializeOwned + Send + 'static> Follow<K> {
    /// Objects that `which` selects by labels or fields.
    pub(in crate::source) fn new(api: Api<K>, which: ListParams) -> Self {
        Self {
            api,
            which,
            at: At::Start,
            failures: 0,
        }
    }

    /// What happens next. After an error it goes on by itself, when it is asked again. May be dropped while it waits.
    pub(in crate::source) async fn next(&mut self) -> Result<Event<K>, Failure> {
        loop {
            match self.step().await {
                Ok(Some(event)) => return Ok(event),
                Ok(None) => {}
                Err(failure) => {
                    self.at = At::Waiting(Instant::now() + wait(self.failures));
                    self.failures = self.failures.saturating_add(1);
                    // Nothing is wrong unless the list fails, too.
                    if !matches!(failure, Failure::Ended | Failure::Desynced) {
                        return Err(failure);
                    }
                    debug!(reason = failure.reason(), "listing anew");
                }
            }
        }
    }

    async fn step(&mut self) -> Result<Option<Event<K>>, Failure> {
        match &mut self.at {
            At::Waiting(until) => {
                sleep_until(*until).await;
                self.at = At::Start;
                Ok(None)
            }
            At::Start => {
                let list = timeout(ANSWER, self.api.list(&self.which)).await;
                let list = list.map_err(|_| Failure::Silent)??;
                let version = list.metadata.resource_version.unwrap_or_default();
                if version.is_empty() {
                    return Err(Failure::no_version());
                }
                self.at = At::Listed(version);
                Ok(Some(Event::Listed(list.items)))
            }
            At::Listed(from) => {
                let params = WatchParams {
                    label_selector: self.which.label_selector.clone(),
                    field_selector: self.which.field_selector.clone(),
                    ..WatchParams::default()
                };
                let seconds = u32::try_from(WATCH.as_secs()).unwrap_or(u32::MAX);
                let params = params.timeout(seconds);
                let events = timeout(ANSWER, self.api.watch(&params, from)).await;
                let events = events.map_err(|_| Failure::Silent)??;
                self.at = At::Open(Instant::now(), events.boxed());
                Ok(None)
            }
            At::Open(since, events) => {
                let since = *since;
                let Ok(event) = timeout_at(since + WATCH + SLACK, events.next()).await else {
                    return Err(Failure::Silent);
                };
                if since.elapsed() >= SUCCESS {
                    self.failures = 0;
                }
                match event {
                    None if since.elapsed() + SLACK >= WATCH => {
                        self.at = At::Start;
                        Ok(None)
                    }
                    None => Err(Failure::Ended),
                    Some(event) => Self::took(event?),
                }
            }
        }
    }

    fn took(event: WatchEvent<K>) -> Result<Option<Event<K>>, Failure> {
        match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                Ok(Some(Event::Set(object)))
            }
            WatchEvent::Deleted(object) => Ok(Some(Event::Deleted(object))),
            WatchEvent::Bookmark(_) => Ok(None),
            WatchEvent::Error(status) => Err(Failure::of_status(&status)),
        }
    }
}

#[cfg(test)]
mod tests;
