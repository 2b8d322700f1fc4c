//! A side that takes nothing while something waits for it: when that is noticed, what it may cost, when it ends.

use std::time::Duration;

use socket2::SockRef;
use tokio::time::Instant;

use super::{flow::Flow, side::Side, tcp};
use crate::{
    ir::{self, defaults},
    upstream,
};

/// Between two looks at a side that takes nothing. At the second one it counts as stalled: longer than a lost packet and its
/// repetitions on a bad network.
const LOOK: Duration = Duration::from_millis(2_500);

/// What the kernel may keep of a stalled tunnel, per socket: what waits to be read, and what it was handed and has not
/// sent. Linux otherwise lets each grow to megabytes (`tcp_rmem`, `tcp_wmem`). Of all that stay under 512 KiB together, as
/// the kernel counts them, these were measured to cost the least processor time at full throughput: room for several frames
/// of 64 KiB on either side. With room for less than one to be sent, a stream stops and goes, at a third of its speed.
const READ_BYTES: usize = 160 * 1024;

/// Listeners hand this on to their sockets.
pub const UNSENT_BYTES: u32 = 96 * 1024;

/// So many bytes of a client at once are an upload.
pub(super) const UPLOAD: u64 = 64 * 1024;

/// A client that is no farther than this sends 31 MB/s through [`READ_BYTES`].
const NEAR: Duration = Duration::from_millis(5);

/// What was known of a stall when it was looked at last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    at: Instant,
    /// What client and backend have taken of all that they were sent.
    taken: [u64; 2],
}

/// Bounds what the kernel reads ahead of a client that stalls: backends are near.
///
/// The kernel ends a connection that takes nothing, although it answers, after `TCP_USER_TIMEOUT`. Where
/// `limits.writeStall` grants more than usual, so does that.
pub(super) fn prepare(client: &impl Side, backend: &impl Side, limit: Option<Duration>) {
    if let Some(socket) = backend.socket() {
        let _bounded = SockRef::from(socket).set_recv_buffer_size(READ_BYTES);
    }
    if limit.is_none_or(|limit| limit > defaults::WRITE_STALL) {
        set_patience(client, backend, limit);
    }
}

/// Bounds what the kernel takes of an upload that a backend may stall under. Not of a client that is far, which would be
/// held to some MB/s by it.
pub(super) fn uploads(client: &impl Side, backend: &impl Side) {
    if let Some(client) = client.socket()
        && tcp::info(client).is_some_and(|info| info.round_trip <= NEAR)
    {
        let _bounded = SockRef::from(client).set_recv_buffer_size(READ_BYTES);
    }
    if let Some(backend) = backend.socket() {
        let _bounded = SockRef::from(backend).set_tcp_notsent_lowat(UNSENT_BYTES);
    }
}

/// Between two looks at a side that takes nothing: at least two are over before it is lost, or the tunnel idle.
fn pause(policy: &ir::Policy) -> Duration {
    let limit = policy.limits.write_stall.value.map(|limit| limit / 2);
    let idle = policy.timeouts.idle.value.map(|idle| idle / 4);
    limit.into_iter().chain(idle).fold(LOOK, Duration::min)
}

/// When something is due about the destination of a flow.
pub(super) fn deadline(flow: &Flow, last: Option<Look>, policy: &ir::Policy) -> Option<Instant> {
    let limit = policy.limits.write_stall.value;
    let end = flow
        .blocked()
        .zip(limit)
        .and_then(|(blocked, limit)| blocked.checked_add(limit));
    next_look(flow, last, policy).into_iter().chain(end).min()
}

/// When the destination is to be looked at, if it takes nothing until then.
pub(super) fn next_look(flow: &Flow, last: Option<Look>, policy: &ir::Policy) -> Option<Instant> {
    let blocked = flow.blocked()?;
    last.map_or(blocked, |last| last.at.max(blocked))
        .checked_add(pause(policy))
}

/// Whether the destination has taken nothing since the last look.
pub(super) fn still_waits(flow: &Flow, last: Look) -> bool {
    flow.blocked().is_some_and(|since| since <= last.at)
}

/// Whether the destination has taken nothing for `limits.writeStall`.
pub(super) fn is_over(flow: &Flow, limit: Option<Duration>, now: Instant) -> bool {
    flow.blocked()
        .zip(limit)
        .is_some_and(|(since, limit)| now.saturating_duration_since(since) >= limit)
}

/// Looks at client and backend, and says which of them has taken something since the `last` time. Of what waits in the
/// kernel only the kernel knows.
pub(super) fn look(
    client: &impl Side,
    backend: &impl Side,
    last: Option<Look>,
    now: Instant,
) -> (Look, [bool; 2]) {
    let taken = [client.socket(), backend.socket()]
        .map(|socket| socket.and_then(tcp::info).map_or(0, |info| info.acked));
    let [of_client, of_backend] = taken;
    let moves = last.map_or([false; 2], |last| {
        let [client, backend] = last.taken;
        [of_client > client, of_backend > backend]
    });
    (Look { at: now, taken }, moves)
}

/// Bounds what the kernel keeps of a stalled tunnel from now on. Failures change nothing that matters: the sockets work
/// as they did.
///
/// The kernel does not tell a side that is alive but does not read from one that vanished, so from now on it gives both
/// as long as `limits.writeStall` does.
pub(super) fn begins(client: &impl Side, backend: &impl Side, limit: Option<Duration>) {
    for socket in [client.socket(), backend.socket()].into_iter().flatten() {
        let socket = SockRef::from(socket);
        let _bounded = socket.set_tcp_notsent_lowat(UNSENT_BYTES);
        let _bounded = socket.set_recv_buffer_size(READ_BYTES);
    }
    set_patience(client, backend, limit);
}

/// The sides take what they get again. The bounds stay: who stalled once may stall again.
pub(super) fn over(client: &impl Side, backend: &impl Side, limit: Option<Duration>) {
    if limit.is_some_and(|limit| limit <= defaults::WRITE_STALL) {
        set_patience(client, backend, Some(upstream::USER_TIMEOUT));
    }
}

/// Linux refuses more milliseconds than fit into 31 bits.
const LONGEST_PATIENCE: Duration = Duration::from_millis(i32::MAX as u64);

/// How long the kernel keeps a connection that takes nothing; `None` = as long as it answers.
fn set_patience(client: &impl Side, backend: &impl Side, limit: Option<Duration>) {
    let patience = limit.map(|limit| limit.clamp(upstream::USER_TIMEOUT, LONGEST_PATIENCE));
    for socket in [client.socket(), backend.socket()].into_iter().flatten() {
        let _longer = SockRef::from(socket).set_tcp_user_timeout(patience);
    }
}
