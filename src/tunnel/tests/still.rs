//! A process that stood still: timers fire before the runtime has told where bytes wait.

use std::{
    io,
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::*;
use crate::tunnel::pump::{Pump, Start};

/// A peer whose bytes are there, but nobody has said so yet.
#[derive(Default)]
struct Untold {
    waiting: Vec<u8>,
    told: bool,
    got: Vec<u8>,
}

impl AsyncRead for Untold {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.told || self.waiting.is_empty() {
            return Poll::Pending;
        }
        let count = self.waiting.len().min(buffer.remaining());
        buffer.put_slice(&self.waiting[..count]);
        self.waiting.drain(..count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Untold {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.got.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Side for &mut Untold {}

/// What the client has got after a stand-still of a minute, when the backend's message was `told` of a moment later.
async fn after_a_minute(set: impl FnOnce(&mut ir::Policy), told: bool) -> Vec<u8> {
    let policy = policy(set);
    let (mut client, mut backend) = (Untold::default(), Untold::default());
    backend.waiting = frame(b"here all the time");
    let start = Start {
        policy: &policy,
        extensions: Extensions::None,
        splice: false,
    };
    let mut sleep = pin!(sleep_until(Instant::now()));
    let news = &mut News::default();
    let mut pump = Pump::new(&mut client, b"", &mut backend, b"", start, news);
    let cx = &mut Context::from_waker(Waker::noop());
    assert!(
        pump.poll(cx, sleep.as_mut(), &policy, None, news)
            .is_pending()
    );
    tokio::time::advance(Duration::from_mins(1)).await;
    // The timer comes first.
    assert!(
        pump.poll(cx, sleep.as_mut(), &policy, None, news)
            .is_pending()
    );
    assert_eq!(pump.sides().0.got, b"", "not judged at the first look");
    pump.sides().1.told = told;
    for _ in 0..2 {
        assert!(
            pump.poll(cx, sleep.as_mut(), &policy, None, news)
                .is_pending()
        );
        tokio::time::advance(Duration::from_millis(250)).await;
    }
    assert!(
        pump.poll(cx, sleep.as_mut(), &policy, None, news)
            .is_pending()
    );
    drop(pump);
    client.got
}

fn idle(policy: &mut ir::Policy) {
    policy.timeouts.idle = Setting::field(Some(Duration::from_secs(10)));
}

#[tokio::test(start_paused = true)]
async fn what_came_meanwhile_keeps_a_tunnel_open() {
    assert_eq!(
        after_a_minute(idle, true).await,
        frame(b"here all the time")
    );
}

#[tokio::test(start_paused = true)]
async fn silence_is_silence_at_the_second_look() {
    assert_eq!(after_a_minute(idle, false).await, own_close(1001));
}
