//! Many WebSockets that exchange numbered messages all the time: none may be closed, none may lose a message.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{SinkExt, StreamExt};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;

use crate::kit::{client, eventually};

/// Between two messages of one socket.
const PACE: Duration = Duration::from_millis(500);

/// Open sockets.
pub struct Sockets {
    stop: Arc<AtomicBool>,
    counts: Vec<Arc<AtomicU64>>,
    tasks: JoinSet<Result<(), String>>,
}

impl Sockets {
    /// Opens so many, and waits until all of them talk.
    pub async fn open(count: usize, address: SocketAddr, host: &str, path: &str) -> Self {
        let mut sockets = Self {
            stop: Arc::default(),
            counts: Vec::new(),
            tasks: JoinSet::new(),
        };
        for _ in 0..count {
            let socket = client::ws(address, host, path).await;
            let socket = socket.expect("the handshake succeeds");
            let exchanged = Arc::<AtomicU64>::default();
            sockets.counts.push(Arc::clone(&exchanged));
            let stop = Arc::clone(&sockets.stop);
            sockets.tasks.spawn(talk(socket, stop, exchanged));
        }
        sockets.all_talk().await;
        sockets
    }

    /// Waits until every one has exchanged a message that was sent after now.
    pub async fn all_talk(&self) {
        let now = || {
            self.counts
                .iter()
                .map(|count| count.load(Ordering::Relaxed))
        };
        let before: Vec<_> = now().collect();
        // Two more: the first of them may have been on its way.
        eventually("every socket talks", async || {
            now()
                .zip(&before)
                .all(|(now, before)| now >= before + 2)
                .then_some(())
        })
        .await;
    }

    /// Every socket still talks, and closes now; none was closed before.
    pub async fn close(mut self) {
        self.all_talk().await;
        self.stop.store(true, Ordering::Relaxed);
        while let Some(done) = self.tasks.join_next().await {
            done.expect("no panic")
                .expect("no socket was closed, no message lost");
        }
    }
}

/// Sends numbers and expects each back, in order.
async fn talk(
    mut socket: client::Socket,
    stop: Arc<AtomicBool>,
    exchanged: Arc<AtomicU64>,
) -> Result<(), String> {
    let mut number = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let sent = number.to_string();
        let message = Message::text(sent.clone());
        socket.send(message).await.map_err(|e| e.to_string())?;
        match socket.next().await {
            Some(Ok(Message::Text(text))) if text.as_str() == sent => {}
            other => return Err(format!("message {sent}: {other:?}")),
        }
        exchanged.store(number, Ordering::Relaxed);
        tokio::time::sleep(PACE).await;
    }
    socket.close(None).await.map_err(|error| error.to_string())
}
