//! Sockets that cannot be meant: one line, exit 64, nothing bound.

use std::{
    net::{SocketAddr, TcpListener, UdpSocket},
    os::fd::OwnedFd,
    process::{Output, Stdio},
};

use rstest::rstest;

use super::{folder, socket};
use crate::kit::{client, eventually, hawser};

const OURS: &str = "export LISTEN_FDS=2 LISTEN_PID=$$";

/// Runs `hawser run` with these sockets; it is meant to end by itself.
async fn start(sockets: [&TcpListener; 2], export: &str, http: &[SocketAddr]) -> Output {
    let dir = folder().await;
    let admin = socket();
    let mut command = hawser::handing(sockets, export);
    command.arg(env!("CARGO_BIN_EXE_hawser"));
    command.args(["run", "--manifests"]).arg(dir.path());
    for address in http {
        command.args(["--http", &address.to_string()]);
    }
    // Taken: a start that gets beyond the sockets fails here.
    let admin = admin.local_addr().expect("an address").to_string();
    command.args(["--admin", &admin]).stderr(Stdio::piped());
    let child = command.kill_on_drop(true).spawn().expect("hawser runs");
    child.wait_with_output().await.expect("it ends")
}

fn addresses(sockets: [&TcpListener; 2]) -> [SocketAddr; 2] {
    sockets.map(|socket| socket.local_addr().expect("an address"))
}

fn assert_refused(output: &Output, words: &[&str]) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(64), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    for word in words {
        assert!(error.contains(word), "{word}: {error}");
    }
}

#[tokio::test]
async fn an_address_that_does_not_match_is_named() {
    let sockets = [socket(), socket()];
    let sockets = [&sockets[0], &sockets[1]];
    let [first, second] = addresses(sockets);
    let other: SocketAddr = "127.0.0.1:1".parse().expect("an address");
    let output = start(sockets, OURS, &[first, other]).await;
    let given = [first.to_string(), second.to_string()];
    let words = ["--http 127.0.0.1:1", "LISTEN_FDS", &given[0], &given[1]];
    assert_refused(&output, &words);
    let output = start(sockets, OURS, &[first]).await;
    assert_refused(&output, &[&format!("--http {second}")]);
}

#[rstest]
#[case::many("export LISTEN_FDS=65 LISTEN_PID=$$", "LISTEN_FDS=65")]
#[case::negative("export LISTEN_FDS=-1 LISTEN_PID=$$", "LISTEN_FDS=-1")]
#[case::word("export LISTEN_FDS=two LISTEN_PID=$$", "LISTEN_FDS=two")]
#[case::more_than_there_are("export LISTEN_FDS=3 LISTEN_PID=$$", "descriptor 5")]
#[tokio::test]
async fn a_number_that_cannot_be_right(#[case] export: &str, #[case] word: &str) {
    let sockets = [socket(), socket()];
    let sockets = [&sockets[0], &sockets[1]];
    let output = start(sockets, export, &addresses(sockets)).await;
    assert_refused(&output, &[word]);
}

#[tokio::test]
async fn a_descriptor_of_another_kind() {
    let listening = socket();
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a port");
    // With `Accept=yes` a unit passes connections.
    let to = listening.local_addr().expect("an address");
    let connected = std::net::TcpStream::connect(to).expect("connected");
    for other in [OwnedFd::from(udp), OwnedFd::from(connected)] {
        let other = TcpListener::from(other);
        let output = start([&listening, &other], OURS, &[to]).await;
        assert_refused(&output, &["descriptor 4", "Accept=no"]);
    }
}

/// Variables that a parent left behind for itself.
#[tokio::test]
async fn sockets_of_another_process_are_none_of_ours() {
    let sockets = [socket(), socket()];
    let sockets = [&sockets[0], &sockets[1]];
    for export in ["export LISTEN_FDS=2 LISTEN_PID=1", "export LISTEN_FDS=2"] {
        let output = start(sockets, export, &addresses(sockets)).await;
        // So it binds the address itself, which somebody else has.
        assert_refused(&output, &["in use"]);
    }
}

#[tokio::test]
async fn no_child_and_no_second_program_finds_the_variables() {
    let dir = folder().await;
    let sockets = [socket(), socket()];
    let sockets = [&sockets[0], &sockets[1]];
    let hawser = hawser::handed(sockets, dir.path(), &[]).await;
    hawser.ready().await;
    for address in addresses(sockets) {
        let served = async || client::get(address, "pages.test", "/").await.ok();
        assert_eq!(eventually("it serves", served).await.status, 200);
    }
    // Close on exec: a program that it would start does not hold the sockets.
    for descriptor in [3, 4] {
        let path = format!("/proc/{}/fdinfo/{descriptor}", hawser.id());
        let info = std::fs::read_to_string(path).expect("descriptor");
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
        let flags = flags.expect("flags").trim();
        let flags = u32::from_str_radix(flags, 8).expect("octal");
        assert_ne!(flags & 0o2_000_000, 0, "O_CLOEXEC of {descriptor}");
    }
}
