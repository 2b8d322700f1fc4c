//! One term of leadership: a task for each replica, and the view of them all.

use std::{collections::BTreeMap, sync::Arc};

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use tokio_util::task::AbortOnDropHandle;
use tracing::warn;

use super::{Settings, ask::Follow, board::Board, discovery::Ready, view::View};
use crate::telemetry::metrics::Metrics;

/// Replicas that are asked. Further ones stand in the view as not reached.
const MAX_ASKED: usize = 100;

/// Asks the replicas of `found` and sends what they say, until it is dropped.
pub(super) async fn run(
    settings: Arc<Settings>,
    mut found: watch::Receiver<Option<Ready>>,
    view: &watch::Sender<Arc<View>>,
    metrics: &Arc<Metrics>,
) {
    let board = Arc::new(Board::default());
    let mut tasks: BTreeMap<Arc<str>, (_, Option<AbortOnDropHandle<()>>)> = BTreeMap::new();
    let mut told = false;
    found.mark_changed();
    let mut next: Option<Instant> = None;
    loop {
        tokio::select! {
            changed = found.changed() => if changed.is_err() { return std::future::pending().await },
            () = board.changed.notified() => {}
            () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
        }
        let Some(ready) = found.borrow_and_update().clone() else {
            continue;
        };
        tasks.retain(|name, (addresses, task)| {
            // One that died is begun anew.
            let lives = task.as_ref().is_none_or(|task| !task.is_finished());
            let stays = lives && ready.get(name) == Some(addresses);
            if !stays {
                board.remove(name);
            }
            stays
        });
        for (name, addresses) in ready {
            if tasks.contains_key(&name) {
                continue;
            }
            board.add(&name);
            let asked = tasks.values().filter(|(_, task)| task.is_some()).count();
            let task = (asked < MAX_ASKED).then(|| {
                let follow = Follow {
                    name: Arc::clone(&name),
                    addresses: addresses.clone(),
                    settings: Arc::clone(&settings),
                    board: Arc::clone(&board),
                    metrics: Arc::clone(metrics),
                };
                AbortOnDropHandle::new(tokio::spawn(follow.run()))
            });
            if task.is_none() && !told {
                told = true;
                warn!(
                    "there are more than {MAX_ASKED} other replicas; the rest counts as not reached"
                );
            }
            tasks.insert(name, (addresses, task));
        }
        let (now_known, wake) = board.view(Instant::now());
        next = wake;
        let unreachable = now_known.unreachable();
        metrics
            .peers()
            .replicas(now_known.replicas.len(), unreachable);
        view.send_replace(Arc::new(now_known));
    }
}
