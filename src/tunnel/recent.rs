//! The last tunnels that ended, for the admin API: some of each route, so that a busy one does not push out what a
//! quiet one has to tell.

use std::collections::VecDeque;

use hashbrown::HashMap;

use super::Closed;
use crate::ir;

/// Of one route.
const MAX_OF_ROUTE: usize = 64;

/// Of all routes: some hundred bytes each, mostly host and path.
const MAX: usize = 1024;

/// The last tunnels that ended.
#[derive(Debug, Default)]
pub(super) struct Recent {
    /// The oldest first, each with its place among all. None is empty.
    routes: HashMap<ir::RouteId, VecDeque<(u64, Closed)>>,
    count: usize,
    /// Ends so far.
    ends: u64,
}

impl Recent {
    /// Remembers one more.
    pub(super) fn push(&mut self, closed: Closed) {
        self.ends += 1;
        let ring = self.routes.entry(closed.route.clone()).or_default();
        ring.push_back((self.ends, closed));
        self.count += 1;
        if ring.len() > MAX_OF_ROUTE {
            ring.pop_front();
            self.count -= 1;
        }
        if self.count > MAX {
            self.make_room();
        }
    }

    /// All of them, the newest first.
    pub(super) fn list(&self) -> Vec<Closed> {
        let mut all: Vec<_> = self.routes.values().flatten().collect();
        all.sort_unstable_by_key(|(end, _)| std::cmp::Reverse(*end));
        all.into_iter().map(|(_, closed)| closed.clone()).collect()
    }

    /// Who has most gives most: down to an equal share. With more routes than places the one that has been quiet for
    /// longest is forgotten.
    fn make_room(&mut self) {
        let share = (MAX / self.routes.len()).max(1);
        let Some((id, ring)) = self.routes.iter_mut().max_by_key(|(_, ring)| ring.len()) else {
            return;
        };
        if ring.len() > 1 {
            // At least one: an equal share of all is less than what the longest has.
            let given = ring.len() - share.min(ring.len() - 1);
            ring.drain(..given);
            self.count -= given;
            return;
        }
        let id = id.clone();
        let last = |ring: &VecDeque<(u64, Closed)>| ring.back().map(|(end, _)| *end);
        let oldest = self.routes.iter().min_by_key(|(_, ring)| last(ring));
        let oldest = oldest.map_or(id, |(id, _)| id.clone());
        if let Some(ring) = self.routes.remove(&oldest) {
            self.count -= ring.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        telemetry::RequestId,
        tunnel::{Cause, Info, Initiator, Outcome},
    };

    fn closed(route: usize, id: u64) -> Closed {
        Closed {
            id,
            route: ir::RouteId {
                object: ir::ObjectId {
                    namespace: "shop".into(),
                    name: route.to_string().into(),
                    kind: ir::RouteKind::WebSocketRoute,
                },
                rule: "socket".into(),
            },
            endpoint: "10.0.0.1:80".parse().unwrap(),
            info: Info {
                request_id: RequestId::default(),
                client: "192.0.2.1:1".parse().unwrap(),
                host: "".into(),
                path: "".into(),
                subprotocol: None,
            },
            outcome: Outcome {
                initiator: Initiator::Client,
                cause: Cause::ClientClosed,
                loss: None,
                code: Some(1000),
                client_got_close: true,
                backend_got_close: true,
                bytes_from_client: 0,
                bytes_from_backend: 0,
                messages_from_client: 0,
                messages_from_backend: 0,
                duration: Duration::ZERO,
            },
        }
    }

    fn of(recent: &Recent, route: usize) -> Vec<u64> {
        let name = route.to_string();
        let all = recent.list().into_iter();
        all.filter(|it| *it.route.object.name == *name)
            .map(|it| it.id)
            .collect()
    }

    #[test]
    fn a_busy_route_does_not_push_out_what_a_quiet_one_tells() {
        let mut recent = Recent::default();
        recent.push(closed(0, 1));
        for id in 2..10_000 {
            recent.push(closed(1, id));
        }
        assert_eq!(of(&recent, 0), [1]);
        let busy = of(&recent, 1);
        assert_eq!(busy.len(), MAX_OF_ROUTE);
        assert_eq!((busy[0], busy[63]), (9_999, 9_936), "the newest first");
    }

    #[test]
    fn all_together_are_bounded_and_everybody_has_a_share() {
        let mut recent = Recent::default();
        for id in 0..10_000 {
            // Nineteen busy ones and a quiet one.
            let route = if id == 500 { 99 } else { id % 19 };
            recent.push(closed(usize::try_from(route).unwrap(), id));
            assert!(recent.list().len() <= MAX || id % 100 != 0);
        }
        assert_eq!(of(&recent, 99), [500]);
        for route in 0..19 {
            let share = of(&recent, route).len();
            assert!(share >= MAX / 20, "{share}");
        }
    }

    #[test]
    fn with_more_routes_than_places_the_quietest_is_forgotten() {
        let mut recent = Recent::default();
        for route in 0..MAX + 10 {
            recent.push(closed(route, route as u64));
            recent.push(closed(route, route as u64));
        }
        assert_eq!(recent.count, MAX);
        assert_eq!(recent.count, recent.list().len());
        assert!(of(&recent, 0).is_empty());
        assert!(!of(&recent, MAX + 9).is_empty());
    }
}
