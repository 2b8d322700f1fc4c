//! One Hawser follows another on the same addresses: sockets that are handed over, and sockets that are shared.

mod shared;
mod wrong;

use std::{
    io,
    net::{SocketAddr, TcpListener},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use futures_util::StreamExt;
use tokio_tungstenite::tungstenite::Message;

use crate::kit::{client, eventually, hawser, manifest, origin};

const UPGRADES: usize = 100;

/// Clients that connect, ask and go all the time, until they are told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
    clients: Vec<tokio::task::JoinHandle<io::Result<()>>>,
}

impl Load {
    fn on(addresses: &[SocketAddr]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let served = Arc::new(AtomicUsize::new(0));
        let clients = addresses.iter().cycle().take(4).map(|&address| {
            let (stop, served) = (Arc::clone(&stop), Arc::clone(&served));
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let answer = client::get(address, "pages.test", "/").await?;
                    if answer.status != 200 {
                        return Err(io::Error::other(format!("{answer:?}")));
                    }
                    served.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            })
        });
        let clients = clients.collect();
        Self {
            stop,
            served,
            clients,
        }
    }

    fn served(&self) -> usize {
        self.served.load(Ordering::Relaxed)
    }

    /// Waits until they have been served once more.
    async fn goes_on(&self) {
        let before = self.served();
        eventually("requests are served", async || {
            let failed = self
                .clients
                .iter()
                .any(tokio::task::JoinHandle::is_finished);
            (failed || self.served() > before).then_some(())
        })
        .await;
    }

    /// None was refused or reset. Returns how many were served.
    async fn end(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await.expect("no panic").expect("no request failed");
        }
        self.served.load(Ordering::Relaxed)
    }
}

/// A folder with a chat and some pages.
async fn folder() -> tempfile::TempDir {
    let echo = origin::echo().await;
    let pages = origin::http().await;
    let dir = tempfile::tempdir().expect("a directory");
    let yaml = manifest::websocket("chat", "/ws", &[echo.addr])
        + &manifest::websocket("pages", "/", &[pages.addr]);
    std::fs::write(dir.path().join("main.yaml"), yaml).expect("written");
    dir
}

fn socket() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").expect("a port")
}

/// Every second time the next one starts before the last one ends, as two services on one socket do; in between it
/// starts after that, as in a restart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_that_is_handed_over_refuses_nobody_in_100_upgrades() {
    let dir = folder().await;
    let sockets = [socket(), socket()];
    let handed = [&sockets[0], &sockets[1]];
    let addresses = handed.map(|socket| socket.local_addr().expect("an address"));
    let start = async |manifests: &Path| hawser::handed(handed, manifests, &[]).await;
    let mut running = start(dir.path()).await;
    running.ready().await;
    let load = Load::on(&addresses);
    for upgrade in 0..UPGRADES {
        load.goes_on().await;
        let next = if upgrade % 2 == 0 {
            let next = start(dir.path()).await;
            next.ready().await;
            running.signal("TERM");
            assert!(running.ended().await.success());
            next
        } else {
            running.signal("TERM");
            assert!(running.ended().await.success());
            start(dir.path()).await
        };
        running = next;
    }
    load.goes_on().await;
    println!("{} requests in {UPGRADES} upgrades", load.end().await);
}

/// The tunnels of the old one get their Close from it, while the new one serves.
#[tokio::test]
async fn the_old_one_says_goodbye_while_the_new_one_serves() {
    let dir = folder().await;
    let sockets = [socket(), socket()];
    let handed = [&sockets[0], &sockets[1]];
    let http = sockets[0].local_addr().expect("an address");
    let mut old = hawser::handed(handed, dir.path(), &[]).await;
    old.ready().await;
    let mut tunnel = client::ws(http, "chat.test", "/ws")
        .await
        .expect("a handshake");
    let new = hawser::handed(handed, dir.path(), &[]).await;
    new.ready().await;
    old.signal("TERM");
    let close = tunnel.next().await.expect("a message").expect("no error");
    assert!(matches!(&close, Message::Close(Some(frame)) if u16::from(frame.code) == 1012));
    let mut next = client::ws(http, "chat.test", "/ws")
        .await
        .expect("another one");
    assert!(tunnel.next().await.is_none());
    assert!(old.ended().await.success());
    drop(new);
    assert!(!matches!(next.next().await, Some(Ok(Message::Text(_)))));
}
