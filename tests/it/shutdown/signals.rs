//! Signals in any order at any time: each ends the process with 0, sooner or later, and never half.

use std::{fmt::Write, time::Duration};

use futures_util::StreamExt;
use rstest::rstest;
use tokio_tungstenite::tungstenite::Message;

use super::slow_origin;
use crate::kit::{
    client, eventually,
    hawser::{self, Hawser},
    manifest, origin,
};

/// Sends them one after the other, each when the one before has been taken in.
async fn send(hawser: &Hawser, signals: &[&str]) {
    let told = || {
        let log = hawser.log();
        let told = log
            .iter()
            .filter(|line| hawser::field(line, "signal").is_some());
        told.count()
    };
    for signal in signals {
        let before = told();
        hawser.signal(signal);
        let what = "the signal is in the log";
        eventually(what, async || (told() > before).then_some(())).await;
    }
}

/// With hours of delay and window, a tunnel and a request that nobody answers: only a cut ends that.
#[rstest]
#[case(&["QUIT"])]
#[case(&["TERM", "QUIT"])]
#[case(&["INT", "QUIT"])]
#[case(&["INT", "INT"])]
#[case(&["TERM", "TERM", "TERM"])]
#[case(&["TERM", "TERM", "QUIT"])]
#[case(&["TERM", "INT", "INT"])]
#[case(&["TERM", "INT", "TERM"])]
#[case(&["INT", "TERM", "TERM"])]
#[tokio::test]
async fn the_last_signal_ends_it_at_once(#[case] signals: &[&str]) {
    let (slow, release) = slow_origin().await;
    let echo = origin::echo().await;
    let yaml = manifest::websocket("slow", "/", &[slow])
        + &manifest::websocket("chat", "/ws", &[echo.addr]);
    let flags = ["--drain-delay", "1h", "--drain-window", "1h"];
    let mut hawser = hawser::with_flags(&yaml, &flags).await;
    let mut socket = client::ws(hawser.http, "chat.test", "/ws")
        .await
        .expect("a handshake");
    let http = hawser.http;
    let request = tokio::spawn(async move { client::get(http, "slow.test", "/").await });
    release.waiting.notified().await;
    send(&hawser, signals).await;
    assert!(hawser.ended().await.success(), "{signals:?}");
    assert_eq!(hawser.said("cutting what is still open"), 1);
    assert_eq!(hawser.said("ended"), 1);
    assert!(request.await.expect("no panic").is_err(), "it was cut");
    let mut last = socket.next().await;
    if let Some(Ok(Message::Close(_))) = last {
        last = socket.next().await;
    }
    assert!(matches!(last, None | Some(Err(_))), "{last:?}");
}

/// A second SIGTERM and a Ctrl-C shorten both, and the goodbye is a polite one.
#[rstest]
#[case(&["TERM", "TERM"], "20s", "10s")]
#[case(&["TERM", "INT"], "1h", "1h")]
#[case(&["INT"], "1h", "1h")]
#[tokio::test]
async fn a_second_signal_hurries(
    #[case] signals: &[&str],
    #[case] delay: &str,
    #[case] window: &str,
) {
    let echo = origin::echo().await;
    let yaml = manifest::websocket("chat", "/ws", &[echo.addr]);
    let flags = ["--drain-delay", delay, "--drain-window", window];
    let mut hawser = hawser::with_flags(&yaml, &flags).await;
    let mut socket = client::ws(hawser.http, "chat.test", "/ws")
        .await
        .expect("a handshake");
    send(&hawser, signals).await;
    let told = async { socket.next().await.expect("a message").expect("no error") };
    let close = tokio::time::timeout(Duration::from_secs(15), told).await;
    let close = close.expect("seconds, not minutes");
    assert!(matches!(&close, Message::Close(Some(frame)) if u16::from(frame.code) == 1012));
    assert!(socket.next().await.is_none(), "nothing follows a Close");
    assert!(hawser.ended().await.success());
}

#[rstest]
#[case("TERM")]
#[case("INT")]
#[case("QUIT")]
#[tokio::test]
async fn before_the_first_table_nobody_waits(#[case] signal: &str) {
    let dir = tempfile::tempdir().expect("a directory");
    let kubeconfig = dir.path().join("kubeconfig");
    let mut yaml = String::from("{apiVersion: v1, kind: Config, current-context: none, ");
    // Nothing listens there, so there is never a table.
    let _ = write!(
        yaml,
        "clusters: [{{name: none, cluster: {{server: 'http://127.0.0.1:1'}}}}], \
         contexts: [{{name: none, context: {{cluster: none, user: none}}}}], users: [{{name: none, user: {{}}}}]}}"
    );
    std::fs::write(&kubeconfig, yaml).expect("written");
    let flags = ["--drain-delay", "1h", "--drain-window", "1h"];
    let mut hawser = hawser::on(&kubeconfig, &flags).await;
    assert!(!hawser.is_ready().await);
    // It waits in the listen queue.
    let http = hawser.http;
    let waiting = tokio::spawn(async move { client::get(http, "chat.test", "/").await });
    hawser.signal(signal);
    assert!(hawser.ended().await.success());
    assert!(waiting.await.expect("no panic").is_err());
}

#[tokio::test]
async fn what_is_told_at_once_says_what_the_next_signal_does() {
    let flags = ["--drain-delay", "1h"];
    let mut hawser = hawser::with_flags(&manifest::service("chat", &[]), &flags).await;
    send(&hawser, &["TERM"]).await;
    let line = hawser
        .logged("the first line", |line| {
            hawser::field(line, "signal") == Some("SIGTERM")
        })
        .await;
    assert_eq!(hawser::field(&line, "delay"), Some("3600s"));
    let next = hawser::field(&line, "next").expect("what comes next");
    assert!(
        next.contains("SIGTERM") && next.contains("SIGQUIT"),
        "{next}"
    );
    send(&hawser, &["TERM"]).await;
    hawser.signal("INT");
    assert!(hawser.ended().await.success());
}
