//! `--reuse-port`: two processes side by side, where the kernel moves what waits for the one that ends.

use super::{Load, UPGRADES, folder};
use crate::kit::{hawser, manifest, netns::Netns};

#[test]
fn a_port_that_is_shared_refuses_nobody_in_100_upgrades() {
    let netns = Netns::new("share");
    netns.run(async || {
        // The file shows the namespace of who opens it.
        std::fs::write("/proc/sys/net/ipv4/tcp_migrate_req", "1").expect("a kernel from 5.14 on");
        let dir = folder().await;
        let http = "127.0.0.1:8080".parse().expect("an address");
        let mut running = hawser::sharing(http, dir.path(), &[]).await;
        running.ready().await;
        let load = Load::on(&[http]);
        for _ in 0..UPGRADES {
            load.goes_on().await;
            let next = hawser::sharing(http, dir.path(), &[]).await;
            next.ready().await;
            running.signal("TERM");
            assert!(running.ended().await.success());
            running = next;
        }
        load.goes_on().await;
        println!("{} requests in {UPGRADES} upgrades", load.end().await);
    });
}

/// Without the flag a second process is told that the port is taken, as ever.
#[tokio::test]
async fn a_port_is_not_shared_by_accident() {
    let dir = folder().await;
    let other = hawser::with(&manifest::service("chat", &[])).await;
    let mut command = hawser::program();
    command.args(["run", "--admin", "127.0.0.1:0", "--manifests"]);
    command
        .arg(dir.path())
        .args(["--http", &other.http.to_string()]);
    let output = command.output().await.expect("hawser runs");
    assert_eq!(output.status.code(), Some(64));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("in use"), "{error}");
}
