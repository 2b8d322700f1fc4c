//! The test kit. It reads like a sentence:
//!
//! ```ignore
//! let origin = origin::echo().await;
//! let hawser = hawser::with(&manifest::websocket("chat", "/ws", &[origin.addr])).await;
//! let mut socket = client::ws(&hawser, "chat.test", "/ws").await?;
//! ```
//! Real processes, real sockets, random ports, no fixed sleeps: [`eventually`] waits for a condition.

pub mod audit;
pub mod client;
pub mod control_plane;
pub mod fault_proxy;
pub mod faults;
pub mod hawser;
pub mod janitor;
pub mod manifest;
pub mod netns;
pub mod node;
pub mod origin;
pub mod process;
pub mod proxy;
pub mod raw;
pub mod switch;
pub mod wire;

use std::time::{Duration, Instant};

/// Long enough for a loaded machine; a condition that is true returns at once.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Waits until `condition` gives a value; panics with `what` after [`DEADLINE`].
pub async fn eventually<T>(what: &str, condition: impl AsyncFn() -> Option<T>) -> T {
    within(DEADLINE, what, condition).await
}

/// The same with a deadline for what is much work.
pub async fn within<T>(
    deadline: Duration,
    what: &str,
    condition: impl AsyncFn() -> Option<T>,
) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(
            start.elapsed() < deadline,
            "did not happen within {deadline:?}: {what}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
