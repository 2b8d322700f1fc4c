//! F18: the clock on the wall jumps a day ahead and a day back; nothing that lives looks at it.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use super::talkers::Talkers;
use crate::kit::{client, eventually, hawser, hawser::Hawser, manifest, origin};

const DAY: i64 = 86_400;

/// Takes `clock_gettime` over: the wall clock is as many seconds off as a file says.
const LIBRARY: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, now);
    if (clock == CLOCK_REALTIME && !result) {
        FILE *file = fopen(getenv("HAWSER_TEST_CLOCK"), "r");
        long offset = 0;
        if (file) {
            if (fscanf(file, "%ld", &offset) == 1) now->tv_sec += offset;
            fclose(file);
        }
    }
    return result;
}
"#;

fn library(folder: &Path) -> PathBuf {
    let (source, library) = (folder.join("clock.c"), folder.join("clock.so"));
    std::fs::write(&source, LIBRARY).expect("written");
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .arg("-ldl")
        .status();
    assert!(built.expect("cc runs").success());
    library
}

/// How far Hawser's wall clock is from ours, by a log line that is made now.
async fn offset(hawser: &Hawser) -> i64 {
    let before = hawser.log().len();
    let answer = client::get(hawser.http, "chat.test", "/plain-http").await;
    answer.expect("an answer");
    let line = eventually("the request is logged", async || {
        hawser.log().get(before..)?.iter().find_map(|line| {
            (hawser::field(line, "event") == Some("request")).then(|| line.clone())
        })
    })
    .await;
    let stamp = line["timestamp"].as_str().expect("a timestamp");
    let stamp: jiff::Timestamp = stamp.parse().expect("RFC 3339");
    stamp.as_second() - jiff::Timestamp::now().as_second()
}

#[tokio::test]
async fn a_wall_clock_that_jumps_a_day_closes_nobody() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let clock = folder.path().join("offset");
    let set = |seconds: i64| {
        // By rename: it is read at any time.
        let new = folder.path().join("new");
        std::fs::write(&new, seconds.to_string()).expect("written");
        std::fs::rename(new, &clock).expect("renamed");
    };
    set(0);
    let echo = origin::echo().await;
    let fields = "timeouts: {idle: 1h, maxLifetime: 2h}, keepalive: {interval: 1s, timeout: 5s}";
    let yaml = manifest::service("chat", &[echo.addr])
        + &manifest::route("chat", "chat.test", "/", "chat", fields);
    let variable = ("HAWSER_TEST_CLOCK", &*clock);
    let hawser = hawser::preloaded(&yaml, &library(folder.path()), variable).await;
    let pace = Duration::from_millis(200);
    let mut talkers = Talkers::open(&hawser, "/ws", 50, Some(pace)).await;
    let pongs = "hawser_websocket_ping_rtt_seconds_count";
    for seconds in [DAY, -DAY, 0] {
        set(seconds);
        let seen = offset(&hawser).await;
        assert!(
            (seen - seconds).abs() < 60,
            "the clock has not jumped: {seen}"
        );
        talkers.go_on().await;
        let before = hawser.sum(pongs, &[]).await;
        eventually("pings go on", async || {
            (hawser.sum(pongs, &[]).await > before).then_some(())
        })
        .await;
        talkers.all_open();
    }
    let longest = hawser
        .view("/api/v1/connections")
        .await
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|tunnel| tunnel["age_seconds"].as_f64())
        .fold(0.0, f64::max);
    assert!(
        longest < 600.0,
        "ages are those of another clock: {longest}"
    );
    assert_eq!(
        hawser.sum("hawser_websocket_closes_total", &[]).await as u64,
        0
    );
}
