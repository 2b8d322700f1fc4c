//! F19: the process stands still, as a virtual machine that is moved: no mass close afterwards.

use std::time::Duration;

use super::talkers::Talkers;
use crate::kit::{hawser, manifest, origin};

/// More sockets than one look of the runtime at the kernel tells about (1,024 events).
const SOCKETS: u64 = 1200;

/// For how long, which is longer than any of the limits below.
const STILL: Duration = Duration::from_secs(6);

const PACE: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_stood_still_closes_nobody() {
    let echo = origin::echo().await;
    let mut yaml = manifest::service("chat", &[echo.addr]);
    for (path, fields) in [
        ("/idle", "timeouts: {idle: 5s}"),
        ("/pinged", "keepalive: {interval: 1s, timeout: 4s}"),
    ] {
        yaml += &manifest::route(&path[1..], "chat.test", path, "chat", fields);
    }
    let hawser = hawser::with(&yaml).await;
    let mut talkers = Talkers::open(&hawser, "/idle", SOCKETS, Some(PACE)).await;
    // These say nothing but what is asked of them.
    let mut silent = Talkers::open(&hawser, "/pinged", 200, None).await;
    talkers.go_on().await;

    hawser.signal("STOP");
    // The clients go on sending: everything is in the kernel's buffers when it wakes up.
    tokio::time::sleep(STILL).await;
    hawser.signal("CONT");

    talkers.go_on().await;
    talkers.go_on().await;
    talkers.all_open();
    silent.all_open();
    let closes = hawser.sum("hawser_websocket_closes_total", &[]).await;
    assert_eq!(closes as u64, 0, "nothing was closed");
}
