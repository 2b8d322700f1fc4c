//! Memory goes back to the system after the start, and after many tunnels have ended.
//!
//! glibc keeps what was freed for the next allocation. After nine thousand tunnels that is some 20 MB, for good.

use std::{sync::Arc, time::Duration};

use tokio::time::interval;
use tokio_util::sync::CancellationToken;

use crate::{source::rebuild::Live, tunnel};

/// Soon enough for the next scrape to see it, seldom enough to cost nothing.
const LOOK: Duration = Duration::from_secs(10);

/// Fewer than this are not worth the time: about 1 MB.
const MANY: usize = 500;

/// Gives memory back once the first table is live, and whenever at least half of the tunnels, and many of them, have
/// ended. Runs until `stop`.
pub(super) async fn run(tunnels: Arc<tunnel::Registry>, live: Arc<Live>, stop: CancellationToken) {
    let mut most = 0;
    // What the first lists are read into is more than what is kept of them.
    let mut starting = true;
    let mut looks = interval(LOOK);
    while stop.run_until_cancelled(looks.tick()).await.is_some() {
        let open = tunnels.len();
        let started = starting && live.load().generation() > 0;
        if started || is_worth_it(most, open) {
            // Milliseconds, in which the allocator is locked.
            let _done = tokio::task::spawn_blocking(give_back).await;
            most = open;
            starting &= !started;
        }
        most = most.max(open);
    }
}

fn is_worth_it(most: usize, open: usize) -> bool {
    most.saturating_sub(open) >= MANY.max(most / 2)
}

/// The one place that is `unsafe`: a C function without arguments that could be wrong.
#[cfg(target_env = "gnu")]
fn give_back() {
    #[expect(unsafe_code, reason = "no crate wraps it")]
    // SAFETY: malloc_trim(3) may be called at any time from any thread; 0 is the padding that is kept at the top of
    // the heap. It moves nothing that is in use.
    let released = unsafe { libc::malloc_trim(0) };
    tracing::debug!(released = released == 1, "memory was offered to the system");
}

/// Other allocators do it by themselves.
#[cfg(not(target_env = "gnu"))]
fn give_back() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_mass_of_ends_is_worth_it() {
        assert!(!is_worth_it(0, 0));
        assert!(!is_worth_it(400, 0), "few");
        assert!(!is_worth_it(9000, 5000), "most are still there");
        assert!(is_worth_it(9000, 4500));
        assert!(is_worth_it(500, 0));
    }

    #[test]
    fn memory_can_be_given_back_at_any_time() {
        let held: Vec<Vec<u8>> = (0..1000).map(|n| vec![7; n]).collect();
        give_back();
        assert!(
            held.iter()
                .enumerate()
                .all(|(n, held)| held.len() == n && held.iter().all(|b| *b == 7))
        );
    }
}
