//! The whole pump under random streams, cuts, stalls, partitions, half-closes, resets, orders, pings and a clock that
//! jumps, on a paused clock.
//!
//! What comes out is what went in and frames of our own between frames, whatever happens; and it ends.
//! `HAWSER_STREAMS` sets how many pairs of streams are tried (2,000), `HAWSER_STREAMS_FROM` the first seed.

use std::{
    collections::VecDeque,
    io,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, Wake, Waker},
};

use fastrand::Rng;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::*;
use crate::tunnel::pump::{Pump, Start};

/// A peer as the pump sees it: it sends in pieces of any size, takes as much as it likes, and ends as it likes.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
struct Peer {
    rng: Rng,
    /// Its frames are masked: it is the client.
    masked: bool,
    /// Sent, but not read yet.
    queue: VecDeque<u8>,
    /// Frames that were sent as a whole, in order.
    sent: Vec<Vec<u8>>,
    /// How it ends once the queue is empty.
    end: Option<End>,
    /// What it got.
    got: Vec<u8>,
    /// How much of that is parsed into frames.
    parsed: usize,
    /// There is always something of it while there is anything.
    eager: bool,
    /// It takes nothing for so many turns.
    stall: u32,
    /// Who waits for something to read, or for room.
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// Times that something went to or from it.
    moved: u64,
    /// Nothing comes from it and nothing reaches it any more, and nobody says so.
    gone: bool,
    fin: bool,
    closed: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum End {
    Fin,
    Reset,
}

impl Peer {
    fn new(rng: &mut Rng, masked: bool) -> Self {
        Self {
            rng: rng.fork(),
            masked,
            eager: rng.u8(..4) == 0,
            queue: VecDeque::new(),
            sent: Vec::new(),
            end: None,
            got: Vec::new(),
            parsed: 0,
            stall: 0,
            reader: None,
            writer: None,
            moved: 0,
            gone: false,
            fin: false,
            closed: false,
        }
    }

    fn send(&mut self, first: u8, payload: &[u8]) {
        let mut frame = fragment(first, payload);
        if self.masked {
            frame[1] |= 0x80;
            let header = frame.len() - payload.len();
            let mask: [u8; 4] = std::array::from_fn(|_| self.rng.u8(..));
            for (byte, mask) in frame[header..].iter_mut().zip(mask.iter().cycle()) {
                *byte ^= mask;
            }
            frame.splice(header..header, mask);
        }
        self.queue.extend(&frame);
        self.sent.push(frame);
    }

    /// Sends a message in one or more frames, control frames among them.
    fn say(&mut self) {
        let fragments = self.rng.u8(1..4);
        for turn in 0..fragments {
            let length = match self.rng.u8(..60) {
                0 => self.rng.usize(64_000..140_000),
                1..7 => self.rng.usize(120..140),
                _ => self.rng.usize(..60),
            };
            let opcode = if turn == 0 { self.rng.u8(1..3) } else { 0 };
            let last = if turn + 1 == fragments { 0x80 } else { 0 };
            self.send(last | opcode, &vec![turn; length]);
            if self.rng.u8(..4) == 0 {
                let opcode = if self.rng.bool() { 0x89 } else { 0x8a };
                // Never 8 bytes, so that ours are told apart.
                self.send(opcode, &[7; 5]);
            }
        }
    }

    /// Does what it likes.
    fn act(&mut self, rng: &mut Rng) {
        self.stall = self.stall.saturating_sub(1);
        if self.end.is_none() && !self.closed {
            match rng.u8(..40) {
                0..14 => self.say(),
                14 => self.stall = rng.u32(..50),
                15 => {
                    self.closed = true;
                    self.send(0x88, &[3, 0xe8]);
                }
                16 => self.end = Some(if rng.bool() { End::Fin } else { End::Reset }),
                17 if rng.bool() => {
                    self.break_off();
                    self.end = Some(End::Fin);
                }
                18 => self.gone = rng.u8(..4) == 0,
                _ => {}
            }
        } else if self.end.is_none() && rng.u8(..4) == 0 {
            self.end = Some(End::Fin);
        }
        self.wake();
    }

    /// Wakes who waits for what there is now, as a socket does.
    fn wake(&mut self) {
        if self.gone {
            return;
        }
        if !self.queue.is_empty() || self.end.is_some() {
            self.reader.take().into_iter().for_each(Waker::wake);
        }
        if self.stall == 0 || self.is_reset() {
            self.writer.take().into_iter().for_each(Waker::wake);
        }
    }

    /// Nothing can be written to it any more; what it sent before can be read.
    fn is_reset(&self) -> bool {
        self.end == Some(End::Reset)
    }

    /// Sends the first half of a frame, after which nothing comes.
    fn break_off(&mut self) {
        let before = self.queue.len();
        self.send(0x82, &[9; 300]);
        self.sent.pop();
        let half = before + self.rng.usize(1..300);
        self.queue.truncate(half);
    }
}

impl AsyncRead for Peer {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.gone {
            self.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        if self.queue.is_empty() {
            return match self.end {
                None => {
                    self.reader = Some(cx.waker().clone());
                    Poll::Pending
                }
                Some(End::Fin) => Poll::Ready(Ok(())),
                Some(End::Reset) => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            };
        }
        if !self.eager && self.rng.u8(..3) == 0 {
            // As where the runtime wants others to have their turn.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.moved += 1;
        let most = self.queue.len().min(buffer.remaining());
        let few = if self.rng.bool() { most.min(20) } else { most };
        let count = self.rng.usize(1..=few);
        let bytes: Vec<u8> = self.queue.drain(..count).collect();
        buffer.put_slice(&bytes);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Peer {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        assert!(!self.fin, "nothing is written after FIN");
        if !self.gone && self.is_reset() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if self.gone || self.stall > 0 {
            self.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let count = match self.rng.u8(..8) {
            0 if !self.eager => {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            0..3 => self.rng.usize(1..=bytes.len()),
            _ => bytes.len(),
        };
        self.got.extend_from_slice(&bytes[..count]);
        self.moved += 1;
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.fin = true;
        Poll::Ready(Ok(()))
    }
}

impl Side for &mut Peer {}

/// Whether the pump asked for another turn.
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Relaxed);
    }
}

/// One whole frame at the start of `bytes`: its length, first byte and payload.
fn first_frame(bytes: &[u8]) -> Option<(usize, u8, Vec<u8>)> {
    let second = *bytes.get(1)?;
    let (length, mut head) = match second & 0x7f {
        126 => (
            usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)),
            4,
        ),
        127 => (
            usize::try_from(u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)).ok()?,
            10,
        ),
        length => (usize::from(length), 2),
    };
    let mut mask = [0; 4];
    if second & 0x80 != 0 {
        mask = bytes.get(head..head + 4)?.try_into().ok()?;
        head += 4;
    }
    let payload = bytes.get(head..head + length)?.iter();
    let payload = payload
        .zip(mask.iter().cycle())
        .map(|(b, m)| b ^ m)
        .collect();
    Some((head + length, bytes[0], payload))
}

/// Parses what `to` got so far, and lets it answer: pongs to our pings, a Close to a Close.
fn answer(to: &mut Peer, pongs: &mut u32) {
    while let Some((length, first, payload)) = first_frame(&to.got[to.parsed..]) {
        to.parsed += length;
        if first == 0x89 && payload.len() == 8 && to.end.is_none() && to.rng.u8(..5) > 0 {
            to.send(0x8a, &payload);
            // It goes no further, so it is not among what is expected.
            to.sent.pop();
            *pongs += 1;
        }
        if first == 0x88 && !to.closed && to.end.is_none() && to.rng.u8(..5) > 0 {
            to.closed = true;
            let code = payload.get(..2).unwrap_or_default().to_vec();
            to.send(0x88, &code);
        }
    }
}

/// What was found in what a peer got.
#[derive(Default)]
struct Found {
    /// Pings and Closes of ours.
    own: usize,
    /// Its last frame is a Close.
    closed: bool,
    /// That one is ours.
    own_close: bool,
    /// Every frame that the other side sent as a whole is there.
    all: bool,
}

/// Checks what `to` got against what `from` sent.
fn check(seed: u64, from: &Peer, to: &Peer) -> Found {
    let mut sent = from.sent.iter();
    let mut next = sent.next();
    let (mut at, mut own, mut closed, mut own_close) = (0, 0, false, false);
    while let Some((length, first, payload)) = first_frame(&to.got[at..]) {
        assert!(!closed, "seed {seed}: something follows a Close");
        let frame = &to.got[at..at + length];
        if next.is_some_and(|next| next == frame) {
            next = sent.next();
        } else {
            let ping = first == 0x89 && payload.len() == 8;
            assert!(
                ping || first == 0x88,
                "seed {seed}: {first:#x} at {at} is nobody's"
            );
            let masked = frame[1] & 0x80 != 0;
            assert_eq!(
                masked, from.masked,
                "seed {seed}: frames of ours look like the sender's"
            );
            own += 1;
            own_close = first == 0x88;
        }
        closed = first == 0x88;
        at += length;
    }
    // What is left is the beginning of a frame that the sender did not finish, or that the receiver did not take before
    // the tunnel had to end; that may be one of ours.
    let rest = &to.got[at..];
    if !rest.is_empty() {
        assert!(!closed, "seed {seed}: something follows a Close");
        let whole = next.is_some_and(|next| next.starts_with(rest));
        let broken = rest[0] == 0x82 && from.end.is_some();
        let ours = matches!(rest[0], 0x88 | 0x89) && rest.len() < 131;
        assert!(
            whole || broken || ours,
            "seed {seed}: {} bytes are nobody's: {rest:x?}",
            rest.len()
        );
    }
    Found {
        own,
        closed,
        own_close,
        all: next.is_none(),
    }
}

/// Limits and timeouts, or none.
fn any_policy(rng: &mut Rng) -> ir::Policy {
    policy(|policy| {
        if rng.bool() {
            policy.keepalive.interval = Setting::field(Some(Duration::from_secs(1)));
            policy.keepalive.timeout = Setting::field(Some(Duration::from_secs(20)));
        }
        if rng.u8(..3) == 0 {
            policy.timeouts.idle = Setting::field(Some(Duration::from_secs(30)));
        }
        if rng.u8(..4) == 0 {
            policy.limits.messages_per_second = Setting::field(Some(rng.u32(1..50)));
        }
        if rng.u8(..4) == 0 {
            policy.limits.bytes_per_second = Setting::field(Some(rng.u64(500..200_000)));
        }
        if rng.u8(..8) == 0 {
            policy.upgrade.max_message_bytes = Setting::field(Some(100_000));
        }
        policy.limits.write_stall = Setting::field(Some(Duration::from_mins(1)));
        policy.timeouts.max_lifetime = Setting::field(Some(Duration::from_secs(40)));
    })
}

/// One tunnel from its beginning to its end.
async fn tunnel_of(seed: u64) {
    let mut rng = Rng::with_seed(seed);
    let mut client = Peer::new(&mut rng, true);
    let mut backend = Peer::new(&mut rng, false);
    let policy = any_policy(&mut rng);
    let start = Start {
        policy: &policy,
        extensions: Extensions::None,
        splice: false,
    };
    let mut sleep = pin!(sleep_until(Instant::now()));
    let mut order = None;
    let mut pongs = 0;
    let news = &mut News::default();
    let mut pump = Pump::new(&mut client, b"", &mut backend, b"", start, news);
    let woken = Arc::new(Woken(AtomicBool::new(true)));
    let waker = Waker::from(Arc::clone(&woken));
    let cx = &mut Context::from_waker(&waker);
    let mut idle = 0_u32;
    let verdict = loop {
        let is_woken = woken.0.swap(false, Relaxed);
        // Who is not woken has nothing to do. To see that, it is asked now and then; always would mend what is lost.
        if is_woken || rng.u8(..8) == 0 {
            let moved = |pump: &mut Pump<&mut Peer, &mut Peer>| {
                let (client, backend) = pump.sides();
                client.moved + backend.moved
            };
            let before = moved(&mut pump);
            let polled = pump.poll(cx, sleep.as_mut(), &policy, order, news);
            assert!(
                is_woken || (polled.is_pending() && moved(&mut pump) == before),
                "seed {seed}: nobody woke it, and there was something to do"
            );
            if let Poll::Ready(verdict) = polled {
                break verdict;
            }
        }
        let (client, backend) = pump.sides();
        for peer in [&mut **client, &mut **backend] {
            answer(peer, &mut pongs);
            peer.act(&mut rng);
        }
        if order.is_none() && rng.u8(..60) == 0 {
            order = Some(Order {
                cause: Cause::Drain,
                code: 1012,
            });
            waker.wake_by_ref();
        }
        let passed = if woken.0.load(Relaxed) {
            // Its turn comes soon.
            Duration::from_millis(rng.u64(..20))
        } else if rng.u16(..1000) == 0 {
            // The process stood still.
            Duration::from_hours(1)
        } else {
            Duration::from_millis(rng.u64(..800))
        };
        tokio::time::advance(passed).await;
        idle += 1;
        assert!(idle < 20_000, "seed {seed}: the tunnel does not end");
    };
    drop(pump);
    let up = check(seed, &client, &backend);
    let down = check(seed, &backend, &client);
    // Every ping of ours that was answered was swallowed: else `check` would have found the pong.
    assert!(up.own + down.own >= usize::from(pongs > 0), "seed {seed}");
    // What is said about the end is what the peers saw.
    let said = (verdict.backend_got_close, verdict.client_got_close);
    assert_eq!(said, (up.closed, down.closed), "seed {seed}: {verdict:?}");
    assert_eq!(
        verdict.loss.is_some(),
        matches!(verdict.cause, Cause::ClientLost | Cause::BackendLost),
        "seed {seed}: {verdict:?}"
    );
    // Nothing is missing before the last word of a peer, nor before what is said of one that ended in order.
    let whole = |found: &Found| match verdict.loss {
        None => !found.own_close,
        Some(Loss::Fin | Loss::Reset) => found.all,
        Some(_) => true,
    };
    let first = match verdict.cause {
        Cause::ClientClosed | Cause::ClientLost => &up,
        Cause::BackendClosed | Cause::BackendLost => &down,
        _ => return,
    };
    assert!(!first.closed || whole(first), "seed {seed}: {verdict:?}");
}

#[tokio::test(start_paused = true)]
async fn what_comes_out_is_what_went_in_and_frames_of_ours_between_frames() {
    let count = std::env::var("HAWSER_STREAMS").ok();
    let count: u64 = count.and_then(|count| count.parse().ok()).unwrap_or(2_000);
    let first = std::env::var("HAWSER_STREAMS_FROM").ok();
    let first = first.and_then(|first| first.parse().ok());
    let first = first.unwrap_or_else(|| fastrand::u64(..u64::MAX / 2));
    for seed in first..first + count {
        tunnel_of(seed).await;
    }
}
