//! A side that takes nothing while something waits for it: when that is noticed, what it may cost, when it ends.

use std::time::Duration;

use socket2::SockRef;
use tokio::time::Instant;

use super::{flow::Flow, side::Side};
use crate::upstream;

/// Until a side counts as stalled: longer than a lost packet and its repetitions on a bad network.
const NOTICE: Duration = Duration::from_secs(5);

/// What the kernel may keep of a stalled tunnel, per socket: what waits to be sent, and what waits to be read. Linux
/// otherwise lets each grow to megabytes (`tcp_wmem`, `tcp_rmem`). Listeners hand the first on to their sockets.
pub const KERNEL_BYTES: u32 = 128 * 1024;

/// Bounds what the kernel reads ahead of a client that stalls. Backends are near: this much per round trip of a
/// millisecond is more than 100 MB/s. Clients may be far, so what they send is bounded only when a backend has stalled.
pub(super) fn prepare(backend: &impl Side) {
    if let Some(socket) = backend.socket() {
        let _bounded = SockRef::from(socket).set_recv_buffer_size(KERNEL_BYTES as usize);
    }
}

/// When something is due about the destination of a flow.
pub(super) fn deadline(flow: &Flow, noticed: bool, limit: Option<Duration>) -> Option<Instant> {
    let blocked = flow.blocked()?;
    let notice = (!noticed).then_some(NOTICE);
    let first = notice.into_iter().chain(limit).min()?;
    blocked.checked_add(first)
}

/// Whether the destination counts as stalled.
pub(super) fn is_noticed(flow: &Flow, now: Instant) -> bool {
    flow.blocked()
        .is_some_and(|since| now.saturating_duration_since(since) >= NOTICE)
}

/// Whether the destination has taken nothing for `limits.writeStall`.
pub(super) fn is_over(flow: &Flow, limit: Option<Duration>, now: Instant) -> bool {
    flow.blocked()
        .zip(limit)
        .is_some_and(|(since, limit)| now.saturating_duration_since(since) >= limit)
}

/// Bounds what the kernel keeps of a stalled tunnel from now on. Failures change nothing that matters: the sockets work
/// as they did.
///
/// The kernel does not tell a side that is alive but does not read from one that vanished, so from now on it gives both
/// as long as `limits.writeStall` does.
pub(super) fn begins(client: &impl Side, backend: &impl Side, limit: Option<Duration>) {
    for socket in [client.socket(), backend.socket()].into_iter().flatten() {
        let socket = SockRef::from(socket);
        let _bounded = socket.set_tcp_notsent_lowat(KERNEL_BYTES);
        let _bounded = socket.set_recv_buffer_size(KERNEL_BYTES as usize);
        let patience = limit.map(|limit| limit.max(upstream::USER_TIMEOUT));
        let _longer = socket.set_tcp_user_timeout(patience);
    }
}

/// The sides take what they get again. The bounds stay: who stalled once may stall again.
pub(super) fn over(client: &impl Side, backend: &impl Side) {
    for socket in [client.socket(), backend.socket()].into_iter().flatten() {
        let _on = SockRef::from(socket).set_tcp_user_timeout(Some(upstream::USER_TIMEOUT));
    }
}
