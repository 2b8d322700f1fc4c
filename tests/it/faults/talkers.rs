//! Sockets that talk, each with its own task: what all of these tests do to tunnels that must not care.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use futures_util::{SinkExt, StreamExt};
use tokio::{task::JoinSet, time::interval};
use tokio_tungstenite::tungstenite::Message;

use crate::kit::{client, eventually, hawser::Hawser};

/// Open sockets that expect their messages back, in order. They end with it.
pub(super) struct Talkers {
    heard: Arc<AtomicU64>,
    tasks: JoinSet<String>,
    count: u64,
}

impl Talkers {
    /// So many sockets to this path of `chat.test`. With a `pace` each sends a message so often; without, they only
    /// answer pings.
    pub(super) async fn open(
        hawser: &Hawser,
        path: &str,
        count: u64,
        pace: Option<Duration>,
    ) -> Self {
        let heard = Arc::new(AtomicU64::new(0));
        let mut tasks = JoinSet::new();
        for _ in 0..count {
            let socket = client::ws(hawser.http, "chat.test", path).await;
            let socket = socket.expect("a handshake");
            tasks.spawn(talk(socket, pace, Arc::clone(&heard)));
        }
        let talkers = Self {
            heard,
            tasks,
            count,
        };
        if pace.is_some() {
            talkers.go_on().await;
        }
        talkers
    }

    /// Waits until there are as many more answers as there are sockets, twice.
    pub(super) async fn go_on(&self) {
        let wanted = self.heard.load(Relaxed) + 2 * self.count;
        eventually("every socket talks", async || {
            (self.heard.load(Relaxed) >= wanted).then_some(())
        })
        .await;
    }

    /// None has ended or missed a message.
    pub(super) fn all_open(&mut self) {
        let mut ended = Vec::new();
        while let Some(why) = self.tasks.try_join_next() {
            ended.push(why.expect("no panic"));
        }
        assert!(
            ended.is_empty(),
            "{} of {} sockets ended, the first: {}",
            ended.len(),
            self.count,
            ended[0]
        );
    }
}

/// Talks for ever; gives why it could not.
async fn talk(mut socket: client::Socket, pace: Option<Duration>, heard: Arc<AtomicU64>) -> String {
    let (mut sent, mut got) = (0_u64, 0_u64);
    let mut turns = interval(pace.unwrap_or(Duration::from_hours(1)));
    turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = turns.tick(), if pace.is_some() => {
                sent += 1;
                if let Err(error) = socket.send(Message::text(sent.to_string())).await {
                    return format!("sending: {error}");
                }
            }
            message = socket.next() => match message {
                Some(Ok(Message::Text(text))) if text.as_str() == (got + 1).to_string() => {
                    got += 1;
                    heard.fetch_add(1, Relaxed);
                }
                Some(Ok(Message::Ping(_))) => {
                    // The answer waits for the next write otherwise.
                    if let Err(error) = socket.flush().await {
                        return format!("answering: {error}");
                    }
                }
                other => return format!("{other:?} after {got} of {sent} messages"),
            },
        }
    }
}
