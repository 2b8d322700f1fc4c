//! Hours with sockets that come and go while routes change: nothing grows, nothing is closed but by its own client.
//!
//! Short in `make test`; `make soak` gives it an hour (`SOAK` minutes) and 1,000 sockets.

use std::{
    env,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use futures_util::{SinkExt, StreamExt};
use tokio::{task::JoinSet, time::interval};
use tokio_tungstenite::tungstenite::Message;

use crate::kit::{client, eventually, hawser, manifest, origin, within};

/// A run.
struct Length {
    sockets: usize,
    whole: Duration,
    /// Between two looks at memory.
    step: Duration,
    /// The longest that a socket stays.
    stay: Duration,
}

fn length() -> Length {
    let minutes = env::var("HAWSER_SOAK_TUNNEL_MINUTES").ok();
    let minutes = minutes.map(|text| text.parse().expect("a number of minutes"));
    minutes.map_or(
        Length {
            sockets: 100,
            whole: Duration::from_secs(6),
            step: Duration::from_millis(500),
            stay: Duration::from_secs(2),
        },
        |minutes| Length {
            sockets: 1_000,
            whole: Duration::from_mins(minutes),
            step: Duration::from_secs(10),
            stay: Duration::from_mins(1),
        },
    )
}

/// From so many minutes on a slope says something about hours.
const TELLING: Duration = Duration::from_mins(50);

/// What a route of its own for each second may do to a live socket: nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sockets_that_come_and_go_leave_nothing_behind() {
    let length = length();
    let echo = origin::echo().await;
    let chat = |seconds| {
        let settings = format!("keepalive: {{interval: {seconds}s}}");
        manifest::route("chat", "chat.test", "/ws", "chat", &settings)
    };
    let hawser = hawser::with(&manifest::service("chat", &[echo.addr])).await;
    hawser.write("chat.yaml", &chat(10));
    eventually("the route is live", async || {
        let answer = client::get(hawser.http, "chat.test", "/ws").await.ok()?;
        (answer.status != 404).then_some(())
    })
    .await;
    let base = hawser.sockets();
    let stop = Arc::new(AtomicBool::new(false));
    let visits = Arc::new(AtomicU64::new(0));
    let mut guests = JoinSet::new();
    for _ in 0..length.sockets {
        let (http, stay) = (hawser.http, length.stay);
        let (stop, visits) = (Arc::clone(&stop), Arc::clone(&visits));
        guests.spawn(async move {
            while !stop.load(Relaxed) {
                visit(http, stay, &stop).await?;
                visits.fetch_add(1, Relaxed);
            }
            Ok::<_, String>(())
        });
    }

    let start = Instant::now();
    let mut samples = Vec::new();
    let mut steps = interval(length.step);
    let mut change = 0;
    while start.elapsed() < length.whole {
        steps.tick().await;
        // Other routes come, change and go; the sockets' own route gets other timeouts.
        change += 1;
        let name = format!("other-{}", change % 20);
        let path = format!("/{change}");
        let other = manifest::route(&name, &format!("{name}.test"), &path, "chat", "");
        hawser.write(&format!("{name}.yaml"), &other);
        if change % 20 == 19 {
            hawser.delete(&format!("{name}.yaml"));
        }
        hawser.write("chat.yaml", &chat(10 + change % 10));
        samples.push((start.elapsed().as_secs_f64(), hawser.rss() as f64));
        while let Some(ended) = guests.try_join_next() {
            ended.expect("no panic").expect("no socket was closed");
        }
    }
    stop.store(true, Relaxed);
    while let Some(ended) = guests.join_next().await {
        ended.expect("no panic").expect("no socket was closed");
    }

    // The first fifth is the time to get warm.
    let warm = &samples[samples.len() / 5..];
    let slope = slope(warm) * 3600.0 / 1e6;
    let (first, last) = (warm[0].1 / 1e6, warm[warm.len() - 1].1 / 1e6);
    println!(
        "{} visits, {change} changes: RSS {first:.2} MB -> {last:.2} MB, {slope:+.2} MB/h",
        visits.load(Relaxed)
    );
    if length.whole >= TELLING {
        assert!(slope < 1.0, "RSS grows by {slope:.2} MB/h");
    }
    eventually("all tunnels are gone", async || {
        let open = hawser.sum("hawser_websocket_connections", &[]).await;
        (open as u64 == 0).then_some(())
    })
    .await;
    // Connections for metrics end later; pipes of splice(2) stay in their pool, which has a bound.
    within(
        Duration::from_mins(1),
        "sockets are back at the base",
        async || (hawser.sockets() <= base + 2).then_some(()),
    )
    .await;
    let all = hawser.sum("hawser_websocket_closes_total", &[]).await;
    let by_client = hawser
        .sum("hawser_websocket_closes_total", &["client_closed", "1000"])
        .await;
    assert_eq!(all as u64, by_client as u64, "ends that nobody asked for");
    assert!(by_client as u64 >= visits.load(Relaxed));
}

/// Comes, talks for some time, says goodbye.
async fn visit(
    http: std::net::SocketAddr,
    longest: Duration,
    stop: &AtomicBool,
) -> Result<(), String> {
    let socket = client::ws(http, "chat.test", "/ws").await;
    let mut socket = socket.map_err(|error| error.to_string())?;
    let stay = longest.mul_f64(fastrand::f64());
    let start = Instant::now();
    let mut turns = interval(Duration::from_secs(1));
    let mut number = 0_u64;
    while start.elapsed() < stay && !stop.load(Relaxed) {
        turns.tick().await;
        number += 1;
        // Some large ones among them.
        let length = if number.is_multiple_of(20) {
            100_000
        } else {
            100
        };
        let text = format!("{number} {}", "x".repeat(length));
        let sent = socket.send(Message::text(text.clone())).await;
        sent.map_err(|error| error.to_string())?;
        loop {
            match socket.next().await {
                Some(Ok(Message::Text(got))) if got.as_str() == text => break,
                Some(Ok(Message::Ping(_))) => {}
                other => return Err(format!("message {number}: {other:?}")),
            }
        }
    }
    let frame = tokio_tungstenite::tungstenite::protocol::CloseFrame {
        code: 1000.into(),
        reason: "".into(),
    };
    socket
        .close(Some(frame))
        .await
        .map_err(|error| error.to_string())?;
    // The answer, or the socket would end with a reset.
    while let Some(Ok(_)) = socket.next().await {}
    Ok(())
}

/// Least squares: the slope per second of (seconds, value).
fn slope(samples: &[(f64, f64)]) -> f64 {
    let count = samples.len() as f64;
    let mean = |pick: fn(&(f64, f64)) -> f64| samples.iter().map(pick).sum::<f64>() / count;
    let (x, y) = (mean(|sample| sample.0), mean(|sample| sample.1));
    let rise: f64 = samples
        .iter()
        .map(|sample| (sample.0 - x) * (sample.1 - y))
        .sum();
    let run: f64 = samples.iter().map(|sample| (sample.0 - x).powi(2)).sum();
    rise / run
}
